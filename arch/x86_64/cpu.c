/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This CPU: control registers, features, per-CPU pointer, interrupt masks.
 */
#include "asm/cpu.h"

#include "asm/machine.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hw/cpuid.h"
#include "hw/ports.h"
#include "hw/x86.h"

#define RESET_POLLS 1000000U

bool host_has_xsave;
uint64_t host_xcr0 = XCR0_X87 | XCR0_SSE;
uint32_t host_xsave_bytes = XSAVE_BYTES_MIN;

static bool has_crc32, has_rdrand;

struct percpu *this_cpu(void)
{
    struct percpu *cpu;

    __asm__("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

struct cpuid_values host_cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid_regs r = cpuid(leaf, subleaf);

    return (struct cpuid_values){r.eax, r.ebx, r.ecx, r.edx};
}

uint64_t host_guest_xcr0(void)
{
    return host_xcr0;
}

uint32_t host_xsave_size(void)
{
    return host_xsave_bytes;
}

bool cpu_has_crc32(void)
{
    return has_crc32;
}

uint64_t random_u64(void)
{
    uint64_t v = rdtsc() * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t r = 0;

    if (has_rdrand) {
        __asm__ volatile("rdrand %0" : "=r"(r) : : "cc");
    }
    v ^= r;
    v ^= v >> 29;
    v *= UINT64_C(0xbf58476d1ce4e5b9);
    return v ^ v >> 32;
}

/* XSAVE: on when the CPU has it, with the features that guests may get. */
static void xsave_init(uint32_t features)
{
    uint64_t supported;

    if (!(features & CPUID_1_ECX_XSAVE)) {
        return;
    }
    host_has_xsave = true;
    write_cr4(read_cr4() | CR4_OSXSAVE);
    supported = cpuid(0xd, 0).eax;
    if (supported & XCR0_AVX) {
        host_xcr0 |= XCR0_AVX;
        if ((supported & XCR0_AVX512) == XCR0_AVX512) {
            host_xcr0 |= XCR0_AVX512;
        }
    }
    xsetbv0(host_xcr0);
    host_xsave_bytes = cpuid(0xd, 0).ebx;
}

/* CR0 and CR4 without XSAVE. */
static void control_init(void)
{
    struct cpuid_regs r;
    uint64_t cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_MCE | CR4_DE;

    if (cpuid(0, 0).eax >= 7) {
        r = cpuid(7, 0);
        cr4 |= (r.ebx & CPUID_7_EBX_SMEP) ? CR4_SMEP : 0;
        cr4 |= (r.ecx & CPUID_7_ECX_UMIP) ? CR4_UMIP : 0;
    }
    write_cr4(cr4);
    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS | CR0_CD | CR0_NW)) | CR0_MP | CR0_NE | CR0_WP);
}

void cpu_init_other(void)
{
    control_init();
    if (host_has_xsave && (cpuid(1, 0).ecx & CPUID_1_ECX_XSAVE)) {
        write_cr4(read_cr4() | CR4_OSXSAVE);
        /* Less than the first CPU has: the backend finds out and gives it no guests. */
        xsetbv0(host_xcr0 & cpuid(0xd, 0).eax);
    }
}

void cpu_init(void)
{
    uint32_t features = cpuid(1, 0).ecx;

    control_init();
    has_crc32 = features & CPUID_1_ECX_SSE42;
    has_rdrand = features & CPUID_1_ECX_RDRAND;
    xsave_init(features);

    /* No legacy interrupt may come. */
    outb(PIC1_DATA, 0xff);
    outb(PIC2_DATA, 0xff);
}

void cpu_pause(void)
{
    __asm__ volatile("pause");
}

void machine_off(bool ok)
{
    static const char shutdown[] = "Shutdown";

    outl(DEBUG_EXIT_PORT, ok ? 0 : 1);
    for (size_t i = 0; i < sizeof(shutdown) - 1; i++) {
        outb(BOCHS_SHUTDOWN_PORT, (uint8_t)shutdown[i]);
    }
    cpu_halt_forever();
}

/* Time for a reset to take place. */
static void await_reset(void)
{
    for (unsigned int i = 0; i < RESET_POLLS; i++) {
        cpu_pause();
    }
}

void machine_reset(void)
{
    static const struct descriptor_ptr no_idt;

    __asm__ volatile("cli");
    outb(RESET_PORT, RESET_HARD);
    outb(RESET_PORT, RESET_HARD | RESET_NOW);
    await_reset();
    outb(KEYBOARD_PORT, KEYBOARD_PULSE_RESET);
    await_reset();
    /* An exception that cannot be delivered shuts the CPU down, and chipsets reset it then. */
    __asm__ volatile("lidt %0; ud2" ::"m"(no_idt));
    __builtin_unreachable();
}

void frames_zero(mfn_t mfn, uint64_t frames)
{
    void *to = mfn_to_va(mfn);
    uint64_t words = frames * (PAGE_SIZE / 8);

    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0) : "memory");
}
