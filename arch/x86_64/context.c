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
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/cpuid.h"
#include "hw/x86.h"

/* XSAVE area, SDM volume 1, "Layout of the XSAVE Area". */
#define XSAVE_MXCSR 24
#define XSAVE_MXCSR_MASK 28
#define XSAVE_HEADER 512
#define XSAVE_HEADER_END 576
#define MXCSR_RESET 0x1f80U
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

static void xsave(void *area, uint64_t mask)
{
    __asm__ volatile("xsave64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
                     : "memory");
}

static void xrstor(const void *area, uint64_t mask)
{
    __asm__ volatile("xrstor64 (%0)" ::"r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
                     : "memory");
}

int context_init(struct vcpu_context *ctx)
{
    uint32_t mxcsr = MXCSR_RESET;

    ctx->xsave = kzalloc(host_xsave_bytes);
    if (ctx->xsave == NULL) {
        return -ENOMEM;
    }
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

static void save(struct vcpu_context *ctx)
{
    xsetbv0(host_xcr0);
    xsave(ctx->xsave, host_xcr0);
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
    xsetbv0(host_xcr0);
    xrstor(ctx->xsave, host_xcr0);
    xsetbv0(ctx->xcr0);
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

/* The CPU tells which bits of MXCSR it has when it saves. */
static uint32_t mxcsr_mask(void)
{
    static uint8_t legacy[XSAVE_HEADER_END] __attribute__((aligned(64)));
    uint32_t mask;

    xsave(legacy, XCR0_X87 | XCR0_SSE);
    memcpy(&mask, legacy + XSAVE_MXCSR_MASK, sizeof(mask));
    return mask != 0 ? mask : MXCSR_MASK_DEFAULT;
}

int context_check_xsave(const void *image, size_t bytes)
{
    const uint8_t *in = image;
    uint64_t features;
    uint32_t mxcsr;

    if (bytes < XSAVE_HEADER_END || bytes > host_xsave_bytes) {
        return -EINVAL;
    }
    memcpy(&features, in + XSAVE_HEADER, sizeof(features));
    if (features & ~host_xcr0) {
        return -EINVAL;
    }
    for (size_t i = XSAVE_HEADER + sizeof(features); i < XSAVE_HEADER_END; i++) {
        if (in[i] != 0) {
            return -EINVAL; /* compacted format or reserved bits */
        }
    }
    memcpy(&mxcsr, in + XSAVE_MXCSR, sizeof(mxcsr));
    return (mxcsr & ~mxcsr_mask()) ? -EINVAL : 0;
}

int context_set_xsave(struct vcpu_context *ctx, const void *image, size_t bytes)
{
    int rc = context_check_xsave(image, bytes);

    if (rc == 0) {
        memset(ctx->xsave, 0, host_xsave_bytes);
        memcpy(ctx->xsave, image, bytes);
    }
    return rc;
}
