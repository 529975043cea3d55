/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID: what it must show, what it must hide, and what follows the guest's own registers.
 */
#include "probe/probe.h"

#include "lib/molt.h"

static void check_molt_leaves(void)
{
    struct cpuid_regs base = cpuid(HC_CPUID_BASE, 0);
    struct cpuid_regs one = cpuid(1, 0);
    struct cpuid_regs ext = cpuid(0x80000001U, 0);
    struct hc_info info;

    group_begin("cpuid");
    check(base.eax >= HC_CPUID_TIMING, "highest hypervisor leaf is 0x%x", base.eax);
    check(molt_info(&info) == 0 && info.tsc_khz == cpuid(HC_CPUID_TIMING, 0).eax,
          "timing leaf says %u kHz, HC_INFO %" P64 "u", cpuid(HC_CPUID_TIMING, 0).eax,
          info.tsc_khz);
    check((one.ecx & CPUID1_ECX_HYPERVISOR) != 0, "hypervisor bit is clear");
    check((one.ecx & CPUID1_ECX_VMX) == 0, "VMX is shown");
    check((ext.ecx & CPUIDX_ECX_SVM) == 0, "SVM is shown");
    check((one.ecx & CPUID1_ECX_MONITOR) == 0, "MONITOR is shown");
    check((one.ecx & CPUID1_ECX_SMX) == 0, "SMX is shown");
    check((one.ecx & CPUID1_ECX_PDCM) == 0, "PDCM is shown");
    if (cpuid(0, 0).eax >= 0xa) {
        check((cpuid(0xa, 0).eax & 0xffU) == 0, "PMU version is %u", cpuid(0xa, 0).eax & 0xffU);
    }
    if (cpuid(0, 0).eax >= 6) {
        check((cpuid(6, 0).ecx & 1U) == 0, "APERF/MPERF is shown");
        check((cpuid(6, 0).eax & 4U) != 0, "the APIC timer is said to stop");
    }
    group_end("molt's leaves and what is hidden");
}

static void check_basics(void)
{
    const uint32_t wanted = CPUID1_EDX_TSC | CPUID1_EDX_MSR | CPUID1_EDX_PAE | CPUID1_EDX_PGE |
                            CPUID1_EDX_PAT | CPUID1_EDX_FXSR | CPUID1_EDX_SSE | CPUID1_EDX_SSE2;
    uint32_t max = cpuid(0, 0).eax;
    uint32_t max_ext = cpuid(0x80000000U, 0).eax;
    uint32_t edx = cpuid(1, 0).edx;
    uint32_t bits;

    group_begin("cpuid");
    check(max >= 1 && max < 0x1000, "highest leaf is 0x%x", max);
    check(max_ext >= 0x80000008U && max_ext < 0x80001000U, "highest extended leaf is 0x%x",
          max_ext);
    check((edx & wanted) == wanted, "leaf 1 EDX 0x%x lacks 0x%x", edx, wanted & ~edx);
    check((cpuid(0x80000001U, 0).edx & CPUIDX_EDX_LM) != 0, "long mode is hidden");
    bits = cpuid(0x80000008U, 0).eax;
    check((bits & 0xffU) >= 36 && (bits & 0xffU) <= 52, "%u physical address bits", bits & 0xffU);
    check((bits >> 8 & 0xffU) == 48 || (bits >> 8 & 0xffU) == 57, "%u linear address bits",
          bits >> 8 & 0xffU);
    group_end("basic leaves");
}

/* OSXSAVE, OSPKE and leaf 0xd follow the guest's CR4 and XCR0, never the host's. */
static void check_dynamic(void)
{
    uint64_t cr4 = read_cr4();
    uint64_t xcr0 = cpu_xcr0();

    group_begin("cpuid");
    if ((cr4 & CR4_OSXSAVE) != 0) {
        check((cpuid(1, 0).ecx & CPUID1_ECX_OSXSAVE) != 0, "OSXSAVE clear with CR4.OSXSAVE set");
        write_cr4(cr4 & ~CR4_OSXSAVE);
        check((cpuid(1, 0).ecx & CPUID1_ECX_OSXSAVE) == 0, "OSXSAVE set with CR4.OSXSAVE clear");
        write_cr4(cr4);
        xsetbv(0, XCR0_X87 | XCR0_SSE);
        check(cpuid(0xd, 0).ebx == 576, "XSAVE area for x87 and SSE is %u bytes",
              cpuid(0xd, 0).ebx);
        if ((xcr0 & XCR0_AVX) != 0) {
            xsetbv(0, XCR0_X87 | XCR0_SSE | XCR0_AVX);
            check(cpuid(0xd, 0).ebx == 832, "XSAVE area with AVX is %u bytes", cpuid(0xd, 0).ebx);
        }
        xsetbv(0, xcr0);
        check(cpuid(0xd, 0).ecx >= cpuid(0xd, 0).ebx, "XSAVE area: %u of at most %u bytes",
              cpuid(0xd, 0).ebx, cpuid(0xd, 0).ecx);
    }
    if ((cr4 & CR4_PKE) != 0) {
        check((cpuid(7, 0).ecx & CPUID7_ECX_OSPKE) != 0, "OSPKE clear with CR4.PKE set");
        write_cr4(cr4 & ~CR4_PKE);
        check((cpuid(7, 0).ecx & CPUID7_ECX_OSPKE) == 0, "OSPKE set with CR4.PKE clear");
        write_cr4(cr4);
    }
    group_end("leaves that follow CR4 and XCR0");
}

void probe_cpuid(void)
{
    if (molt_present()) {
        check_molt_leaves();
    } else {
        report_skip("cpuid", "no molt here");
    }
    check_basics();
    check_dynamic();
}
