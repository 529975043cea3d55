/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSRs: the known work, everything else faults.
 */
#include "probe/probe.h"

#include "lib/clock.h"
#include "lib/molt.h"

struct access {
    uint32_t msr;
    uint64_t value;
};

struct msr_range {
    uint32_t first;
    uint32_t last;
    const char *what;
};

/* Not there, whatever the host has. */
static const struct msr_range absent[] = {
    {0x00000002, 0x00000002, "reserved"},
    {0x00000011, 0x00000012, "paravirtual clock, old numbers"},
    {0x0000003a, 0x0000003a, "FEATURE_CONTROL"},
    {0x000000c1, 0x000000c8, "performance counters"},
    {0x00000186, 0x0000018d, "performance event selectors"},
    {0x00000309, 0x0000030c, "fixed counters"},
    {0x00000345, 0x00000345, "PERF_CAPABILITIES"},
    {0x0000038d, 0x00000390, "global performance control"},
    {0x000003f1, 0x000003f1, "PEBS_ENABLE"},
    {0x00000480, 0x00000493, "VMX capabilities"},
    {0x000004c1, 0x000004c8, "full-width performance counters"},
    {0x00001fff, 0x00002001, "around the end of the low bitmap"},
    {0x00012345, 0x00012345, "arbitrary"},
    {0x40000000, 0x4000001f, "another hypervisor's"},
    {0x40000100, 0x40000105, "another hypervisor's"},
    {0x4b564d02, 0x4b564d07, "another hypervisor's"},
    {0x80000000, 0x80000000, "arbitrary"},
    {0xbfffffff, 0xbfffffff, "before the high bitmap"},
    {0xc0000085, 0xc000008f, "behind the system call MSRs"},
    {0xc0000105, 0xc000010f, "behind the base MSRs"},
    {0xc0001fff, 0xc0002001, "around the end of the high bitmap"},
    {0xc0010000, 0xc0010007, "AMD performance counters"},
    {0xc0010114, 0xc0010117, "SVM"},
    {0xdeadbeef, 0xdeadbeef, "arbitrary"},
    {0xffffffff, 0xffffffff, "the last"},
};

/* May be there or not: an access must do no harm. A value read is written back. */
static const uint32_t harmless[] = {
    0x00,       0x01,       0x17,  0x1b,       0x34,       0x3b,       0x48,       0x49,
    0x79,       0x8b,       0x9b,  0xce,       0xe7,       0xe8,       0xfe,       0x10a,
    0x10b,      0x122,      0x140, 0x179,      0x17a,      0x198,      0x199,      0x19a,
    0x19b,      0x19c,      0x1a0, 0x1a2,      0x1a4,      0x1ad,      0x1b0,      0x1b2,
    0x1c8,      0x1d9,      0x1db, 0x1f2,      0x1fc,      0x200,      0x201,      0x250,
    0x2ff,      0x400,      0x401, 0x492,      0x570,      0x606,      0x611,      0x66a,
    0x6e0,      0xd90,      0xda0, 0xc0010010, 0xc0010015, 0xc001001f, 0xc0010055, 0xc0010058,
    0xc0011020, 0xc0011029,
};

static void do_read(void *arg)
{
    struct access *a = arg;

    a->value = rdmsr(a->msr);
}

static void do_write(void *arg)
{
    const struct access *a = arg;

    wrmsr(a->msr, a->value);
}

static void check_absent(void)
{
    bool x2apic = (cpuid(1, 0).ecx & CPUID1_ECX_X2APIC) != 0;

    group_begin("msr");
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        for (uint64_t n = absent[i].first; n <= absent[i].last; n++) {
            struct access a = {(uint32_t)n, 0};

            check(fault_call(do_read, &a) && last_fault.vector == VEC_GP,
                  "read of 0x%x (%s) does not raise #GP", a.msr, absent[i].what);
            a.value = 0;
            check(fault_call(do_write, &a) && last_fault.vector == VEC_GP,
                  "write of 0x%x (%s) does not raise #GP", a.msr, absent[i].what);
            check(last_fault.error == 0, "0x%x: error code 0x%" P64 "x", a.msr, last_fault.error);
        }
    }
    group_end("absent ones raise #GP");
    if (x2apic) {
        report_skip("msr", "x2APIC is shown");
        return;
    }
    group_begin("msr");
    for (uint32_t n = 0x800; n <= 0x83f; n++) {
        struct access a = {n, 0};

        check(fault_call(do_read, &a) && last_fault.vector == VEC_GP,
              "read of x2APIC 0x%x does not raise #GP", n);
        check(fault_call(do_write, &a) && last_fault.vector == VEC_GP,
              "write of x2APIC 0x%x does not raise #GP", n);
    }
    group_end("x2APIC raises #GP");
}

static void check_harmless(void)
{
    unsigned int readable = 0;
    unsigned int writable = 0;

    group_begin("msr");
    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++) {
        struct access a = {harmless[i], 0};
        bool faulted = fault_call(do_read, &a);

        check(!faulted || last_fault.vector == VEC_GP, "read of 0x%x: vector %" P64 "u", a.msr,
              last_fault.vector);
        readable += !faulted;
        faulted = fault_call(do_write, &a);
        check(!faulted || last_fault.vector == VEC_GP, "write of 0x%x: vector %" P64 "u", a.msr,
              last_fault.vector);
        writable += !faulted;
    }
    print("probe: of %u optional MSRs %u can be read, %u written\n",
          (unsigned int)ARRAY_SIZE(harmless), readable, writable);
    group_end("optional ones do no harm");
}

static void check_values(void)
{
    static const struct access good[] = {
        {MSR_STAR, 0x0013000800001234},        {MSR_LSTAR, 0xffff800012345678},
        {MSR_CSTAR, 0x00007fffffffffff},       {MSR_SFMASK, 0x00043700},
        {MSR_FS_BASE, 0xffff812345678900},     {MSR_GS_BASE, 0x00007123456789ab},
        {MSR_KERNEL_GS_BASE, 0xffffffffffff0}, {MSR_SYSENTER_CS, 0x1234},
        {MSR_SYSENTER_ESP, 0x12345678},        {MSR_SYSENTER_EIP, 0x7fffffff},
        {MSR_PAT, 0x0007040600070406},         {MSR_PAT, 0x0000010504070006},
    };

    group_begin("msr");
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct access a = good[i];
        uint64_t old = rdmsr(a.msr);

        /* Canonical whatever was typed above. */
        if (a.msr >= MSR_LSTAR && a.msr != MSR_SFMASK && a.msr != MSR_PAT) {
            a.value = (uint64_t)((int64_t)(a.value << 16) >> 16);
        }
        if (!expect_vectors("write of a good value", do_write, &a, NO_FAULT)) {
            check(rdmsr(a.msr) == a.value, "0x%x: wrote 0x%" P64 "x, read 0x%" P64 "x", a.msr,
                  a.value, rdmsr(a.msr));
            wrmsr(a.msr, old);
        }
    }
    check(rdmsr(MSR_TSC) - rdtsc() + 1000000000U < 1000000001U, "MSR 0x10 is not the TSC");
    group_end("values are kept");
}

static void check_bad_values(void)
{
    static const uint32_t addresses[] = {MSR_LSTAR,       MSR_CSTAR,          MSR_FS_BASE,
                                         MSR_GS_BASE,     MSR_KERNEL_GS_BASE, MSR_SYSENTER_ESP,
                                         MSR_SYSENTER_EIP};
    static const uint64_t pats[] = {0x0007040600070402, 0x0307040600070406, 0x0007080600070406,
                                    0x0007040600ff0406};

    group_begin("msr");
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct access a = {addresses[i], 0x0000800000000000};

        /* Without exits: QEMU's TCG takes any. */
        if (cpu_is_exact() && (addresses[i] >= MSR_EFER || vendor_is_intel())) {
            uint64_t old = rdmsr(a.msr);

            check(fault_call(do_write, &a) && last_fault.vector == VEC_GP,
                  "0x%x takes a non-canonical address", a.msr);
            check(rdmsr(a.msr) == old, "0x%x changed by a write that faulted", a.msr);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(pats); i++) {
        struct access a = {MSR_PAT, pats[i]};

        check(fault_call(do_write, &a) && last_fault.vector == VEC_GP, "PAT takes 0x%" P64 "x",
              pats[i]);
    }
    group_end("bad values raise #GP");
}

static void check_efer(void)
{
    uint64_t old = rdmsr(MSR_EFER);
    bool nx = (cpuid(0x80000001U, 0).edx & CPUIDX_EDX_NX) != 0;
    struct access a = {MSR_EFER, 0};

    group_begin("msr");
    check((old & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA), "EFER 0x%" P64 "x in long mode",
          old);
    for (unsigned int bit = 1; bit < 64; bit++) {
        bool amd = !vendor_is_intel() && (bit < 8 || (bit >= 13 && bit < 22));

        if (bit == 8 || bit == 10 || bit == 11 || amd) {
            continue;
        }
        a.value = old | BIT64(bit);
        check(fault_call(do_write, &a) && last_fault.vector == VEC_GP, "EFER bit %u can be set",
              bit);
        check(rdmsr(MSR_EFER) == old, "EFER 0x%" P64 "x after a write that faulted",
              rdmsr(MSR_EFER));
    }
    a.value = old & ~EFER_LME;
    check(fault_call(do_write, &a) && last_fault.vector == VEC_GP,
          "EFER.LME can be cleared under paging");
    for (unsigned int i = 0; i < 4; i++) {
        uint64_t want = (old & ~(EFER_SCE | EFER_NXE)) | ((i & 1U) != 0 ? EFER_SCE : 0) |
                        ((i & 2U) != 0 && nx ? EFER_NXE : 0);

        wrmsr(MSR_EFER, want);
        check(rdmsr(MSR_EFER) == want, "EFER: wrote 0x%" P64 "x, read 0x%" P64 "x", want,
              rdmsr(MSR_EFER));
    }
    wrmsr(MSR_EFER, old);
    group_end("EFER");
}

static uint64_t user_rdmsr(uint64_t msr)
{
    return rdmsr((uint32_t)msr);
}

static void do_user_rdmsr(void *arg)
{
    (void)arg;
    (void)user_call(user_rdmsr, MSR_FS_BASE);
}

void probe_msrs(void)
{
    if (molt_present()) {
        check_absent();
        check_harmless();
    } else {
        report_skip("msr", "no molt here");
    }
    check_values();
    if (engine_is_strict()) {
        check_bad_values();
        check_efer();
    } else {
        report_skip("msr", "reserved bits: this emulator takes anything");
    }
    group_begin("msr");
    expect_fault("RDMSR in ring 3", do_user_rdmsr, NULL, VEC_GP, 0);
    group_end("ring 3");
}
