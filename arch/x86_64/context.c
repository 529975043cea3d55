/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Switching what stays in the CPU while a vCPU is loaded.
 *
 * molt itself is compiled without vector registers and uses neither debug registers nor the MSRs
 * here, so a guest's values stay where they are over exits and are switched only when another vCPU
 * comes.
 */
#include "hv/context.h"

#include "asm/cpu.h"
#include "asm/machine.h"
#include "hv/errno.h"
#include "hv/percpu.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/cpuid.h"
#include "hw/x86.h"

/* XSAVE area, SDM volume 1, "Layout of the XSAVE Area". */
#define XSAVE_MXCSR 24
#define XSAVE_MXCSR_MASK 28
#define XSAVE_HEADER 512
#define MXCSR_RESET 0x1f80U
#define FCW_RESET 0x37fU /* as XRSTOR does it */
#define MXCSR_MASK_DEFAULT 0xffbfU

static const uint32_t guest_msr_index[GUEST_MSR_COUNT] = {
    [GUEST_MSR_STAR] = MSR_STAR,
    [GUEST_MSR_LSTAR] = MSR_LSTAR,
    [GUEST_MSR_CSTAR] = MSR_CSTAR,
    [GUEST_MSR_SFMASK] = MSR_SFMASK,
    [GUEST_MSR_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
    [GUEST_MSR_TSC_AUX] = MSR_TSC_AUX,
};

static bool has_tsc_aux(void)
{
    static int known; /* 0 unknown, 1 no, 2 yes */

    if (known == 0) {
        known = (cpuid(0x80000001, 0).edx & CPUID_81_EDX_RDTSCP) ? 2 : 1;
    }
    return known == 2;
}

/* Vector and x87 registers as an XSAVE image, of which FXSAVE has the first part as well. A CPU
 * without XSAVE keeps XCR0 nowhere. */
static void fxsave(void *area)
{
    __asm__ volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

static void vector_save(void *area)
{
    static const uint64_t components = XCR0_X87 | XCR0_SSE;

    if (!host_has_xsave) {
        fxsave(area);
        memcpy((uint8_t *)area + XSAVE_HEADER, &components, sizeof(components));
        return;
    }
    xsetbv0(host_xcr0);
    __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)host_xcr0),
                     "d"((uint32_t)(host_xcr0 >> 32))
                     : "memory");
}

static void vector_restore(const void *area, uint64_t guest_xcr0)
{
    if (!host_has_xsave) {
        __asm__ volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
        return;
    }
    xsetbv0(host_xcr0);
    __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)host_xcr0),
                     "d"((uint32_t)(host_xcr0 >> 32))
                     : "memory");
    xsetbv0(guest_xcr0);
}

int context_init(struct vcpu_context *ctx)
{
    static const uint16_t fcw = FCW_RESET; /* for FXRSTOR */
    uint32_t mxcsr = MXCSR_RESET;

    ctx->xsave = kzalloc(host_xsave_bytes);
    if (ctx->xsave == NULL) {
        return -ENOMEM;
    }
    memcpy(ctx->xsave, &fcw, sizeof(fcw));
    memcpy((uint8_t *)ctx->xsave + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    ctx->dr6 = DR6_INIT;
    ctx->xcr0 = XCR0_X87;
    return 0;
}

void context_fini(struct vcpu_context *ctx)
{
    kfree(ctx->xsave);
    ctx->xsave = NULL;
}

/* The CPU tells which bits of MXCSR it has when it saves. */
static uint32_t mxcsr_mask(const uint8_t *area)
{
    uint32_t mask;

    memcpy(&mask, area + XSAVE_MXCSR_MASK, sizeof(mask));
    return mask != 0 ? mask : MXCSR_MASK_DEFAULT;
}

/* QEMU's XRSTOR loads bits of MXCSR that no CPU has, and the next image would refuse them. */
static void clear_reserved(uint8_t *area)
{
    uint32_t mxcsr;

    memcpy(&mxcsr, area + XSAVE_MXCSR, sizeof(mxcsr));
    mxcsr &= mxcsr_mask(area);
    memcpy(area + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
}

static void save(struct vcpu_context *ctx)
{
    vector_save(ctx->xsave);
    clear_reserved(ctx->xsave);
    ctx->cr2 = read_cr2();
    ctx->dr[0] = read_dr0();
    ctx->dr[1] = read_dr1();
    ctx->dr[2] = read_dr2();
    ctx->dr[3] = read_dr3();
    ctx->dr6 = read_dr6();
    for (unsigned int i = 0; i < GUEST_MSR_COUNT; i++) {
        if (i != GUEST_MSR_TSC_AUX || has_tsc_aux()) {
            ctx->msr[i] = rdmsr(guest_msr_index[i]);
        }
    }
}

static void restore(const struct vcpu_context *ctx)
{
    vector_restore(ctx->xsave, ctx->xcr0);
    write_cr2(ctx->cr2);
    write_dr0(ctx->dr[0]);
    write_dr1(ctx->dr[1]);
    write_dr2(ctx->dr[2]);
    write_dr3(ctx->dr[3]);
    write_dr6(ctx->dr6);
    for (unsigned int i = 0; i < GUEST_MSR_COUNT; i++) {
        if (i != GUEST_MSR_TSC_AUX || has_tsc_aux()) {
            wrmsr(guest_msr_index[i], ctx->msr[i]);
        }
    }
}

void context_load(struct vcpu *v)
{
    struct percpu *cpu = this_cpu();

    if (cpu->loaded == v) {
        return;
    }
    if (cpu->loaded != NULL) {
        save(&cpu->loaded->ctx);
    }
    restore(&v->ctx);
    cpu->loaded = v;
}

void context_unload(void)
{
    struct percpu *cpu = this_cpu();

    if (cpu->loaded != NULL) {
        save(&cpu->loaded->ctx);
        cpu->loaded = NULL;
    }
}

/* x86-64 psABI, "Thread-Local Storage": compilers' stack protectors read FS:0x28. */
static struct foreign_fs {
    uint64_t other[5];
    uint64_t canary;
} foreign_fs;
_Static_assert(offsetof(struct foreign_fs, canary) == 0x28, "where the canary is");

void context_lend(void)
{
    uint32_t mxcsr = MXCSR_RESET;

    context_unload(); /* leaves the host's XCR0 */
    if (foreign_fs.canary == 0) {
        foreign_fs.canary = random_u64() | 1;
    }
    wrmsr(MSR_FS_BASE, (uint64_t)(uintptr_t)&foreign_fs);
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
}

void context_take_back(void)
{
    wrmsr(MSR_FS_BASE, 0); /* as VM exits leave it */
}

void context_set_xcr0(struct vcpu_context *ctx, uint64_t xcr0)
{
    ctx->xcr0 = xcr0;
    xsetbv0(xcr0);
}

void context_set_cr2(struct vcpu_context *ctx, uint64_t cr2)
{
    ctx->cr2 = cr2;
    write_cr2(cr2);
}

int context_check_xsave(const void *image, size_t bytes)
{
    static uint8_t legacy[XSAVE_HEADER] __attribute__((aligned(16)));
    const uint8_t *in = image;
    uint64_t features;
    uint32_t mxcsr;

    if (bytes < XSAVE_BYTES_MIN || bytes > host_xsave_bytes) {
        return -EINVAL;
    }
    memcpy(&features, in + XSAVE_HEADER, sizeof(features));
    if (features & ~host_xcr0) {
        return -EINVAL;
    }
    for (size_t i = XSAVE_HEADER + sizeof(features); i < XSAVE_BYTES_MIN; i++) {
        if (in[i] != 0) {
            return -EINVAL; /* compacted format or reserved bits */
        }
    }
    memcpy(&mxcsr, in + XSAVE_MXCSR, sizeof(mxcsr));
    fxsave(legacy);
    return (mxcsr & ~mxcsr_mask(legacy)) ? -EINVAL : 0;
}

int context_set_xsave(struct vcpu_context *ctx, const void *image, size_t bytes)
{
    int rc = context_check_xsave(image, bytes);

    if (rc == 0) {
        memcpy(ctx->xsave, image, bytes);
        memset((uint8_t *)ctx->xsave + bytes, 0, host_xsave_bytes - bytes);
    }
    return rc;
}
