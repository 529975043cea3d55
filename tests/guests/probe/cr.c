/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CR0, CR3, CR4, CR8, XCR0, debug registers: legal values are kept, illegal ones raise #GP.
 */
#include "probe/probe.h"

#include "lib/molt.h"

#define NOWHERE 0x123456789a0U /* nothing is executed there */
#define DR6_CLEAR 0xffff0ff0U
#define DR6_BD BIT64(13)
#define DR7_CLEAR 0x400U
#define DR7_ALL 0x55U /* DR0 to DR3 enabled */
#define DR7_EXACT BIT64(8)
#define DR7_GD BIT64(13)

static void do_cr0(void *arg)
{
    write_cr0(*(uint64_t *)arg);
}

static void do_cr3(void *arg)
{
    write_cr3(*(uint64_t *)arg);
}

static void do_cr4(void *arg)
{
    write_cr4(*(uint64_t *)arg);
}

static void do_cr8(void *arg)
{
    write_cr8(*(uint64_t *)arg);
}

static void do_dr6(void *arg)
{
    write_dr6(*(uint64_t *)arg);
}

static void do_dr0(void *arg)
{
    write_dr0(*(uint64_t *)arg);
}

static void do_dr5(void *arg)
{
    __asm__ volatile("mov %0, %%dr5" : : "r"(*(uint64_t *)arg));
}

static void do_dr7(void *arg)
{
    write_dr7(*(uint64_t *)arg);
}

struct xcr {
    uint32_t index;
    uint64_t value;
};

static void do_xsetbv(void *arg)
{
    const struct xcr *x = arg;

    xsetbv(x->index, x->value);
}

static void bad(const char *name, void (*write)(void *), uint64_t value)
{
    check(fault_call(write, &value) && last_fault.vector == VEC_GP && last_fault.error == 0,
          "%s takes 0x%" P64 "x", name, value);
}

static void check_cr0(void)
{
    uint64_t old = read_cr0();
    const uint64_t free_bits[] = {CR0_MP, CR0_EM, CR0_TS, CR0_NE, CR0_WP, CR0_AM, CR0_CD};

    group_begin("control");
    bad("CR0", do_cr0, old & ~CR0_PE);
    bad("CR0", do_cr0, old & ~CR0_PG);
    bad("CR0", do_cr0, old | CR0_NW);
    for (unsigned int bit = 32; bit < 64; bit += 5) {
        bad("CR0", do_cr0, old | BIT64(bit));
    }
    check(read_cr0() == old, "CR0 0x%" P64 "x after writes that faulted", (uint64_t)read_cr0());
    for (size_t i = 0; i < ARRAY_SIZE(free_bits); i++) {
        uint64_t want = old ^ free_bits[i];

        write_cr0(want);
        check(read_cr0() == want, "CR0: wrote 0x%" P64 "x, read 0x%" P64 "x", want,
              (uint64_t)read_cr0());
        write_cr0(old);
    }
    write_cr0(old | CR0_TS);
    __asm__ volatile("clts" ::: "memory");
    check(read_cr0() == (old & ~CR0_TS), "CR0 0x%" P64 "x after CLTS", (uint64_t)read_cr0());
    write_cr0(old);
    __asm__ volatile("lmsw %w0" ::"r"(old | CR0_TS) : "memory");
    check(read_cr0() == (old | CR0_TS), "CR0 0x%" P64 "x after LMSW", (uint64_t)read_cr0());
    write_cr0(old);
    group_end("CR0");
}

static void check_cr4(void)
{
    uint64_t old = read_cr4();
    struct cpuid_regs one = cpuid(1, 0);
    struct cpuid_regs seven = cpuid(0, 0).eax >= 7 ? cpuid(7, 0) : (struct cpuid_regs){0, 0, 0, 0};
    const struct {
        uint64_t bit;
        bool shown;
    } features[] = {
        {CR4_UMIP, (seven.ecx & CPUID7_ECX_UMIP) != 0},
        {CR4_FSGSBASE, (seven.ebx & CPUID7_EBX_FSGSBASE) != 0},
        {CR4_PCIDE, (one.ecx & CPUID1_ECX_PCID) != 0},
        {CR4_SMEP, (seven.ebx & CPUID7_EBX_SMEP) != 0},
        {CR4_SMAP, (seven.ebx & CPUID7_EBX_SMAP) != 0},
        {CR4_PKE, (seven.ecx & CPUID7_ECX_PKU) != 0},
        {CR4_OSXSAVE, (one.ecx & CPUID1_ECX_XSAVE) != 0},
        {CR4_SMXE, (one.ecx & CPUID1_ECX_SMX) != 0},
        {CR4_PGE, true},
        {CR4_TSD, true},
        {CR4_DE, true},
    };

    group_begin("control");
    if (molt_present()) {
        bad("CR4", do_cr4, old | CR4_VMXE);
    }
    bad("CR4", do_cr4, old & ~CR4_PAE);
    bad("CR4", do_cr4, old | BIT64(15));
    for (unsigned int bit = 26; bit < 64; bit += 3) {
        bad("CR4", do_cr4, old | BIT64(bit));
    }
    if ((seven.ecx & BIT32(16)) == 0) {
        bad("CR4", do_cr4, old | CR4_LA57);
    }
    check(read_cr4() == old, "CR4 0x%" P64 "x after writes that faulted", (uint64_t)read_cr4());
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        uint64_t want = old ^ features[i].bit;

        if (!features[i].shown) {
            bad("CR4", do_cr4, old | features[i].bit);
        } else if ((features[i].bit & (CR4_SMEP | CR4_SMAP)) == 0) {
            /* Code here lies in user pages: SMEP and SMAP cannot be on. */
            write_cr4(want);
            check(read_cr4() == want, "CR4: wrote 0x%" P64 "x, read 0x%" P64 "x", want,
                  (uint64_t)read_cr4());
            write_cr4(old);
        }
    }
    group_end("CR4");
}

static void check_addresses(uint64_t dr7)
{
    write_dr7(dr7);
    for (unsigned int i = 0; i < 4; i++) {
        uint64_t v = NOWHERE + i * 0x1000;

        write_dr0(v);
        write_dr1(v + 1);
        write_dr2(v + 2);
        write_dr3(v + 3);
        check(read_dr0() == v && read_dr1() == v + 1 && read_dr2() == v + 2 && read_dr3() == v + 3,
              "DR0 to DR3 do not keep 0x%" P64 "x and its neighbours, DR7 0x%" P64 "x", v, dr7);
    }
    write_dr7(DR7_CLEAR);
}

static void check_debug(void)
{
    uint64_t v = DR7_CLEAR | DR7_EXACT;
    uint64_t guarded = DR7_CLEAR | DR7_GD | DR7_ALL;
    uint64_t cr4 = read_cr4();

    group_begin("control");
    check_addresses(DR7_CLEAR);
    check_addresses(DR7_CLEAR | DR7_ALL);
    do_dr5(&v);
    check(read_dr7() == v, "DR5: wrote 0x%" P64 "x, DR7 is 0x%" P64 "x", v, (uint64_t)read_dr7());
    bad("DR5", do_dr5, BIT64(63));
    write_cr4(cr4 | CR4_DE);
    (void)expect_fault("MOV to DR5 with CR4.DE", do_dr5, &guarded, VEC_UD, 0);
    write_cr4(cr4);
    check(read_dr7() == v, "DR7 0x%" P64 "x after writes of DR5 that faulted",
          (uint64_t)read_dr7());
    write_dr7(guarded);
    v = NOWHERE;
    (void)expect_fault("MOV to DR0 with DR7.GD", do_dr0, &v, VEC_DB, 0);
    check(read_dr0() != v, "DR0 was written in spite of DR7.GD");
    check((read_dr6() & DR6_BD) != 0 && read_dr7() == (guarded & ~DR7_GD),
          "DR6 0x%" P64 "x, DR7 0x%" P64 "x behind #DB", (uint64_t)read_dr6(),
          (uint64_t)read_dr7());
    write_dr6(DR6_CLEAR);
    write_dr7(DR7_CLEAR);
    group_end("DR0 to DR3, DR5, DR7.GD");
}

static void check_others(void)
{
    uint64_t cr3 = read_cr3();
    uint64_t dr6 = read_dr6();
    unsigned int bits = cpuid(0x80000008U, 0).eax & 0xffU;

    group_begin("control");
    for (unsigned int bit = bits; bit < 63; bit += 3) {
        /* Bits 61 and 62 belong to linear-address masking where CPUID shows it. */
        if (bit < 61) {
            bad("CR3", do_cr3, cr3 | BIT64(bit));
        }
    }
    check(read_cr3() == cr3, "CR3 0x%" P64 "x after writes that faulted", (uint64_t)read_cr3());
    for (uint64_t v = 0; v < 16; v++) {
        write_cr8(v);
        check(read_cr8() == v, "CR8: wrote %" P64 "u, read %" P64 "u", v, (uint64_t)read_cr8());
    }
    write_cr8(0);
    bad("CR8", do_cr8, 16);
    bad("CR8", do_cr8, BIT64(63));
    bad("DR6", do_dr6, BIT64(32));
    bad("DR7", do_dr7, BIT64(63));
    check(read_dr6() == dr6 && read_dr7() == 0x400, "DR6 0x%" P64 "x, DR7 0x%" P64 "x",
          (uint64_t)read_dr6(), (uint64_t)read_dr7());
    group_end("CR3, CR8, debug registers");
}

static uint64_t user_xsetbv(uint64_t value)
{
    xsetbv(0, value);
    return 0;
}

static void do_user_xsetbv(void *arg)
{
    (void)user_call(user_xsetbv, *(uint64_t *)arg);
}

static void check_xcr0(void)
{
    uint64_t xcr0 = cpu_xcr0();
    struct cpuid_regs d = cpuid(0xd, 0);
    uint64_t can = (uint64_t)d.edx << 32 | d.eax;
    struct xcr x = {0, 0};
    uint64_t cr4 = read_cr4();

    group_begin("control");
    if (xcr0 != 0) {
        const uint64_t bad_values[] = {
            0,
            XCR0_SSE,
            xcr0 & ~XCR0_X87,
            XCR0_X87 | XCR0_AVX,
            XCR0_X87 | XCR0_SSE | XCR0_OPMASK,
            XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_ZMM_HI,
            XCR0_X87 | XCR0_SSE | XCR0_AVX512,
            XCR0_X87 | XCR0_SSE | XCR0_BNDREGS,
        };
        const uint64_t good_values[] = {
            XCR0_X87,
            XCR0_X87 | XCR0_SSE,
            XCR0_X87 | XCR0_SSE | (can & XCR0_AVX),
            xcr0,
        };

        for (size_t i = 0; i < ARRAY_SIZE(bad_values); i++) {
            x.value = bad_values[i];
            check(fault_call(do_xsetbv, &x) && last_fault.vector == VEC_GP,
                  "XCR0 takes 0x%" P64 "x", x.value);
        }
        for (unsigned int bit = 0; bit < 64; bit++) {
            x.value = xcr0 | BIT64(bit);
            if (BIT64(bit) == XCR0_PKRU && !cpu_is_exact()) {
                continue; /* QEMU's SVM does not intercept XSETBV */
            }
            if ((can & BIT64(bit)) == 0) {
                check(fault_call(do_xsetbv, &x) && last_fault.vector == VEC_GP,
                      "XCR0 takes bit %u, which CPUID does not show", bit);
            }
        }
        for (uint32_t index = 1; index < 4; index++) {
            x.index = index;
            x.value = xcr0;
            check(fault_call(do_xsetbv, &x) && last_fault.vector == VEC_GP, "XCR%u can be set",
                  index);
        }
        check(xgetbv(0) == xcr0, "XCR0 0x%" P64 "x after writes that faulted", xgetbv(0));
        x.index = 0;
        for (size_t i = 0; i < ARRAY_SIZE(good_values); i++) {
            x.value = good_values[i];
            expect_vectors("XSETBV with a good value", do_xsetbv, &x, NO_FAULT);
            check(xgetbv(0) == x.value, "XCR0: wrote 0x%" P64 "x, read 0x%" P64 "x", x.value,
                  xgetbv(0));
        }
        expect_fault("XSETBV in ring 3", do_user_xsetbv, &xcr0, VEC_GP, 0);
        write_cr4(cr4 & ~CR4_OSXSAVE);
        expect_fault("XSETBV without CR4.OSXSAVE", do_xsetbv, &x, VEC_UD, 0);
        write_cr4(cr4);
    }
    group_end("XCR0");
}

void probe_control(void)
{
    if (!engine_is_strict()) {
        report_skip("control", "reserved bits: this emulator takes anything");
        return;
    }
    check_cr0();
    check_cr4();
    check_debug();
    check_others();
    check_xcr0();
}
