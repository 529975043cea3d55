/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual CPU: nothing that the host has and guests must not see shows through.
 *
 * The host claims every feature there is. What is hidden is listed here by the manuals' bit numbers
 * and not by the names that core/cpuid.c uses. SDM volume 2, "CPUID"; APM volume 3, appendix E.
 */
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/time.h"
#include "hw/x86.h"
#include "public/hypercall.h"

#define ONES                                           \
    {                                                  \
        UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX \
    }

static const struct cpuid_values ones = ONES;
static struct vcpu *v;

/* Components 2, 5, 6, 7 as on a CPU with AVX-512: size and offset. */
static void host_xsave_leaves(void)
{
    fake_cpuid_set(0xd, 2, (struct cpuid_values){256, 576, 0, 0});
    fake_cpuid_set(0xd, 5, (struct cpuid_values){64, 1088, 0, 0});
    fake_cpuid_set(0xd, 6, (struct cpuid_values){512, 1152, 0, 0});
    fake_cpuid_set(0xd, 7, (struct cpuid_values){1024, 1664, 0, 0});
    fake_cpuid_set(0xd, 9, (struct cpuid_values){8, 2688, 0, 0});
}

static int setup(void **state)
{
    struct vcpu_state reset;
    struct domain *d;

    (void)state;
    world_reset();
    fake_seam_reset();
    fake_cpuid_default(ones);
    world_boot(0, true);
    fake_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
    host_xsave_leaves();
    d = domain_create("guest", 1, false);
    vcpu_state_reset(&reset);
    assert_int_equal(vcpu_create(d, 0, &reset, &v), 0);
    return 0;
}

static struct cpuid_values ask(uint32_t leaf, uint32_t subleaf)
{
    return guest_cpuid(v, leaf, subleaf);
}

static bool is_zero(struct cpuid_values r)
{
    return (r.eax | r.ebx | r.ecx | r.edx) == 0;
}

/* Thermal and power management: the APIC timer runs in every state of the virtual CPU, and Linux
 * uses it for single shots only if this says so. Nothing else, APERF and MPERF least of all. */
static void test_power__any_host__apic_timer_always_runs_and_no_more(void **state)
{
    static const struct cpuid_values none;

    (void)state;
    assert_int_equal(ask(6, 0).eax, 1U << 2);
    assert_int_equal(ask(6, 0).ebx | ask(6, 0).ecx | ask(6, 0).edx, 0);
    fake_cpuid_default(none);
    assert_int_equal(ask(6, 0).eax, 1U << 2);
}

static void test_features__all_ones_host__hidden_bits_clear(void **state)
{
    static const struct {
        uint32_t leaf;
        char reg;
        uint8_t bits[32]; /* 0xff ends */
    } rows[] = {
        /* DTES64 MONITOR DS_CPL VMX SMX EIST TM2 CNXT_ID SDBG xTPR PDCM, reserved, DCA */
        {1, 'c', {2, 3, 4, 5, 6, 7, 8, 10, 11, 14, 15, 16, 18, 0xff}},
        /* MCE, reserved, MTRR MCA PSN, reserved, DS ACPI HTT TM, reserved, PBE */
        {1, 'd', {7, 10, 12, 14, 18, 20, 21, 22, 28, 29, 30, 31, 0xff}},
        /* TSC_ADJUST SGX HLE, FDP, RTM PQM, MPX PQE, reserved, PT, PF ER */
        {7, 'b', {1, 2, 4, 6, 11, 12, 13, 14, 15, 22, 25, 26, 27, 0xff}},
        /* PREFETCHWT1 PKU OSPKE WAITPKG CET_SS, TME, LA57 MAWAU RDPID KL BUSLOCK, ENQCMD PKS */
        {7, 'c', {0, 3, 4, 5, 7, 13, 15, 16, 17, 22, 23, 24, 25, 27, 28, 29, 30, 31, 0xff}},
        /* XSAVES, XFD */
        {0xd, 'a', {3, 4, 31, 0xff}},
        /* SVM extended APIC, OSVW IBS XOP SKINIT WDT LWP FMA4 TCE TOPOEXT, PerfCtr, MONITORX */
        {0x80000001,
         'c',
         {1, 2, 3, 9, 10, 11, 12, 13, 15, 16, 17, 22, 23, 24, 26, 27, 28, 29, 0xff}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct cpuid_values r = ask(rows[i].leaf, rows[i].leaf == 0xd ? 1 : 0);
        uint32_t reg = rows[i].reg == 'a'   ? r.eax
                       : rows[i].reg == 'b' ? r.ebx
                       : rows[i].reg == 'c' ? r.ecx
                                            : r.edx;

        for (size_t k = 0; rows[i].bits[k] != 0xff; k++) {
            if (reg & BIT(rows[i].bits[k])) {
                fail_msg("leaf 0x%x e%cx bit %u", rows[i].leaf, rows[i].reg, rows[i].bits[k]);
            }
        }
    }
    assert_int_equal(ask(7, 0).edx, 0);
    assert_int_equal(ask(7, 0).eax, 0); /* no further sub-leaves */
    assert_int_equal(ask(0x80000001, 0).eax | ask(0x80000001, 0).ebx, 0);
}

static void test_features__all_ones_host__what_guests_need_is_there(void **state)
{
    struct cpuid_values r = ask(1, 0);

    (void)state;
    assert_true(r.edx & BIT(0) && r.edx & BIT(4) && r.edx & BIT(5) && r.edx & BIT(6)); /* FPU.. */
    assert_true(r.edx & BIT(24) && r.edx & BIT(25) && r.edx & BIT(26)); /* FXSR SSE SSE2 */
    assert_true(r.ecx & BIT(26) && r.ecx & BIT(28) && r.ecx & BIT(31)); /* XSAVE AVX hypervisor */
    assert_true(ask(7, 0).ebx & BIT(16));                               /* AVX512F */
    assert_true(ask(0x80000001, 0).edx & BIT(29));                      /* LM */
}

static void test_features__host_without_any__none_made_up(void **state)
{
    static const struct cpuid_values none;
    uint32_t leaves[] = {7, 0xd, 0x80000001};

    (void)state;
    fake_seam_reset();
    fake_cpuid_default(none);
    struct cpuid_values r = ask(1, 0);
    /* the hypervisor bit is ours; the local APIC is emulated, with x2APIC and TSC deadline */
    assert_int_equal(r.ecx, BIT(31) | BIT(21) | BIT(24));
    assert_int_equal(r.edx, BIT(9));
    for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
        assert_true(is_zero(ask(leaves[i], 0)));
        assert_true(is_zero(ask(leaves[i], 1)));
    }
}

/* Features whose registers the host does not let guests switch on. */
static void test_features__components_missing__their_instructions_hidden(void **state)
{
    (void)state;
    fake_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    assert_int_equal(ask(7, 0).ebx & 0xf8230000U &
                         ~(BIT(19) | BIT(20) | BIT(23) | BIT(24) | BIT(29)),
                     0); /* every AVX512 bit */
    assert_int_equal(ask(7, 0).ecx & (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14)), 0);
    assert_true(ask(7, 0).ebx & BIT(5));
    assert_true(ask(1, 0).ecx & BIT(28));
    fake_xcr0 = XCR0_X87 | XCR0_SSE;
    assert_int_equal(ask(1, 0).ecx & (BIT(12) | BIT(28) | BIT(29)), 0); /* FMA AVX F16C */
    assert_int_equal(ask(7, 0).ebx & BIT(5), 0);                        /* AVX2 */
    assert_int_equal(ask(7, 0).ecx & (BIT(9) | BIT(10)), 0);            /* VAES VPCLMULQDQ */
}

static void test_features__backend_without_them__rdtscp_and_invpcid_hidden(void **state)
{
    (void)state;
    assert_true(ask(0x80000001, 0).edx & BIT(27));
    assert_true(ask(7, 0).ebx & BIT(10));
    hvm_features = (struct hvm_features){.rdtscp = false};
    assert_int_equal(ask(0x80000001, 0).edx & BIT(27), 0);
    assert_int_equal(ask(7, 0).ebx & BIT(10), 0);
}

static void test_leaf_1__osxsave_and_ids__follow_the_vcpu(void **state)
{
    (void)state;
    assert_int_equal(ask(1, 0).ecx & BIT(27), 0);
    fake_hvm_state(v)->cr4 = CR4_OSXSAVE;
    assert_true(ask(1, 0).ecx & BIT(27));
    v->id = 5;
    assert_int_equal(ask(1, 0).ebx >> 24, 5);
    assert_int_equal(ask(1, 0).ebx >> 16 & 0xff, 1); /* one logical CPU */
    v->id = 0;
}

static void test_ranges__outside__zero(void **state)
{
    static const uint32_t leaves[] = {
        2,          3,          5,          8,          9,          0xa,        0xc,
        0xe,        0xf,        0x10,       0x12,       0x14,       0x15,       0x16,
        0x18,       0x1f,       0x20,       0x3fffffff, 0x40000001, 0x4000000f, 0x40000011,
        0x40000102, 0x4000ffff, 0x40010000, 0x7fffffff, 0x80000005, 0x80000007, 0x80000009,
        0x8000000a, 0x8000001e, 0x8000001f, 0x8fffffff, 0xc0000000, UINT32_MAX,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(leaves); i++) {
        for (uint32_t subleaf = 0; subleaf < 3; subleaf++) {
            if (!is_zero(ask(leaves[i], subleaf))) {
                fail_msg("leaf 0x%x is not zero", leaves[i]);
            }
        }
    }
    assert_true(is_zero(ask(7, 1)));
    assert_true(is_zero(ask(7, UINT32_MAX)));
    assert_int_equal(ask(0, 0).eax, 0xd);
    assert_int_equal(ask(0x80000000, 0).eax, 0x80000008);
    assert_int_equal(ask(0x80000008, 0).eax & 0xff00, 48 << 8); /* no LA57 */
    assert_int_equal(ask(0x80000008, 0).ebx | ask(0x80000008, 0).ecx, 0);
}

/* What the manual's algorithm makes of it: id = package | core, one thread to a core. SDM volume 2,
 * "CPUID": leaves 1, 4, 0BH; volume 3, "Hierarchical Mapping of Shared Resources". */
static void test_topology__cores__one_package_one_thread_each(void **state)
{
    static const struct {
        unsigned int vcpus, bits; /* of an id that number the cores */
    } rows[] = {{1, 0}, {2, 1}, {3, 2}, {4, 2}, {5, 3}, {8, 3}, {9, 4}, {64, 6}, {65, 7}, {255, 8}};
    struct domain *d = v->domain;

    (void)state;
    /* L1 data, L1 code, L2, L3 of a host with 2 threads a core and 8 cores; then the end */
    fake_cpuid_set(4, 0, (struct cpuid_values){0x1c004121, 0x01c0003f, 0x3f, 0});
    fake_cpuid_set(4, 1, (struct cpuid_values){0x1c004122, 0x01c0003f, 0x3f, 0});
    fake_cpuid_set(4, 2, (struct cpuid_values){0x1c004143, 0x03c0003f, 0x3ff, 0});
    fake_cpuid_set(4, 3, (struct cpuid_values){0x1c03c163, 0x02c0003f, 0x3fff, 6});
    fake_cpuid_set(4, 4, (struct cpuid_values){0, 0, 0, 0});
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned int n = rows[i].vcpus, ids = 1U << rows[i].bits;

        d->nr_vcpus = n;
        for (v->id = 0; v->id<n; v->id += n> 9 ? 50 : 1) {
            struct cpuid_values r = ask(1, 0);
            assert_int_equal(r.ebx >> 24, v->id);
            assert_int_equal(r.ebx >> 16 & 0xff, n);
            assert_int_equal(r.edx >> 28 & 1, n > 1);

            r = ask(0xb, 0); /* SMT: no bit, one thread */
            assert_int_equal(r.eax, 0);
            assert_int_equal(r.ebx, 1);
            assert_int_equal(r.ecx, 0x100);
            assert_int_equal(r.edx, v->id);
            r = ask(0xb, 1); /* core */
            assert_int_equal(r.eax, rows[i].bits);
            assert_int_equal(r.ebx, n);
            assert_int_equal(r.ecx, 0x201);
            assert_int_equal(r.edx, v->id);
            r = ask(0xb, 2); /* no such level */
            assert_int_equal(r.eax | r.ebx, 0);
            assert_int_equal(r.ecx, 2);
            assert_int_equal(r.edx, v->id);
            assert_int_equal(ask(0xb, 0x101).ecx, 1);
        }
        v->id = 0;
        for (uint32_t level = 0; level < 4; level++) {
            struct cpuid_values r = ask(4, level);
            unsigned int sharing = level == 3 ? ids : 1;

            assert_int_equal(r.eax >> 26, MIN(ids, 64U) - 1);
            assert_int_equal(r.eax >> 14 & 0xfff, sharing - 1);
            assert_int_equal(r.eax & 0x3fff, host_cpuid(4, level).eax & 0x3fff);
            assert_int_equal(r.ebx, host_cpuid(4, level).ebx);
            assert_int_equal(r.ecx, host_cpuid(4, level).ecx);
            assert_int_equal(r.edx, host_cpuid(4, level).edx);
        }
        assert_true(is_zero(ask(4, 4)));
    }
    d->nr_vcpus = 1;
    assert_true(is_zero(ask(4, 8))); /* the list ends, even if the host's does not */
    assert_true(is_zero(ask(4, UINT32_MAX)));
    assert_true(is_zero(ask(0x1f, 0))); /* above the highest leaf */
}

/* APM volume 3, CPUID Fn8000_0008_ECX and Fn8000_0001_ECX: on a host of AMD's kind alone. */
static void test_topology__amd__core_count_and_legacy_bit(void **state)
{
    static const struct cpuid_values amd = {0xd, 0x68747541, 0x444d4163, 0x69746e65};

    (void)state;
    v->domain->nr_vcpus = 5;
    assert_int_equal(ask(0x80000008, 0).ecx, 0);
    assert_int_equal(ask(0x80000001, 0).ecx & BIT(1), 0);
    fake_cpuid_set(0, 0, amd);
    assert_int_equal(ask(0x80000008, 0).ecx, 4 | 3 << 12);
    assert_int_equal(ask(0x80000001, 0).ecx & BIT(1), BIT(1));
    assert_true(is_zero(ask(4, 0)));
    assert_int_equal(ask(0xb, 1).ebx, 5);
    v->domain->nr_vcpus = 1;
    assert_int_equal(ask(0x80000008, 0).ecx, 0);
    assert_int_equal(ask(0x80000001, 0).ecx & BIT(1), 0);
}

static void test_hypervisor_leaves__signature_and_frequency(void **state)
{
    struct cpuid_values r = ask(HC_CPUID_BASE, 0);
    char text[13] = {0};

    (void)state;
    memcpy(text, &r.ebx, 4);
    memcpy(text + 4, &r.ecx, 4);
    memcpy(text + 8, &r.edx, 4);
    assert_string_equal(text, "MoltMoltMolt");
    assert_int_equal(r.eax, HC_CPUID_TIMING);
    tsc_khz = 2345678;
    r = ask(HC_CPUID_TIMING, 0);
    assert_int_equal(r.eax, 2345678);
    assert_int_equal(r.ebx | r.ecx | r.edx, 0);
}

static void test_xsave_leaf__sizes__by_xcr0(void **state)
{
    static const struct {
        uint64_t host, xcr0;
        uint32_t now, all;
    } rows[] = {
        {0x3, 0x1, 576, 576},  {0x7, 0x1, 576, 832},   {0x7, 0x7, 832, 832},
        {0xe7, 0x7, 832, 2688}, {0xe7, 0xe7, 2688, 2688}, {0xe7, 0x3, 576, 2688},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        fake_xcr0 = rows[i].host;
        v->ctx.xcr0 = rows[i].xcr0;
        struct cpuid_values r = ask(0xd, 0);
        assert_int_equal(r.eax, rows[i].host);
        assert_int_equal(r.edx, 0);
        assert_int_equal(r.ebx, rows[i].now);
        assert_int_equal(r.ecx, rows[i].all);
    }
}

static void test_xsave_leaf__components__only_those_allowed(void **state)
{
    (void)state;
    fake_xcr0 = 0x7;
    for (uint32_t i = 2; i < 70; i++) {
        struct cpuid_values r = ask(0xd, i);

        if (i == 2) {
            assert_int_equal(r.eax, 256);
            assert_int_equal(r.ebx, 576);
            assert_int_equal(r.ecx & 1, 0);
        } else {
            assert_true(is_zero(r));
        }
    }
    assert_true(is_zero(ask(0xd, UINT32_MAX)));
}

/* guest_cr4_allowed() asks once; the world's host answers it with everything. */
static void test_cr_bits__all_ones_host__only_what_molt_keeps(void **state)
{
    (void)state;
    assert_int_equal(guest_cr4_allowed() & (CR4_VMXE | CR4_LA57 | CR4_PCE | BIT(14) | BIT(22) |
                                            BIT(23) | BIT(24) | ~UINT64_C(0xffffffff)),
                     0); /* SMXE PKE CET PKS */
    assert_true(guest_cr4_allowed() & CR4_PAE);
    assert_int_equal(guest_efer_allowed() & ~UINT64_C(0xd01), 0); /* no SVME, FFXSR, TCE */
    assert_int_equal(guest_cr0_allowed(), 0xe005003f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_cr_bits__all_ones_host__only_what_molt_keeps, setup),
        cmocka_unit_test_setup(test_power__any_host__apic_timer_always_runs_and_no_more, setup),
        cmocka_unit_test_setup(test_features__all_ones_host__hidden_bits_clear, setup),
        cmocka_unit_test_setup(test_features__all_ones_host__what_guests_need_is_there, setup),
        cmocka_unit_test_setup(test_features__host_without_any__none_made_up, setup),
        cmocka_unit_test_setup(test_features__components_missing__their_instructions_hidden, setup),
        cmocka_unit_test_setup(test_features__backend_without_them__rdtscp_and_invpcid_hidden,
                               setup),
        cmocka_unit_test_setup(test_leaf_1__osxsave_and_ids__follow_the_vcpu, setup),
        cmocka_unit_test_setup(test_ranges__outside__zero, setup),
        cmocka_unit_test_setup(test_topology__cores__one_package_one_thread_each, setup),
        cmocka_unit_test_setup(test_topology__amd__core_count_and_legacy_bit, setup),
        cmocka_unit_test_setup(test_hypervisor_leaves__signature_and_frequency, setup),
        cmocka_unit_test_setup(test_xsave_leaf__sizes__by_xcr0, setup),
        cmocka_unit_test_setup(test_xsave_leaf__components__only_those_allowed, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
