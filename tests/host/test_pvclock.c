/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paravirtual clock: precision, structures, MSRs.
 */
#include "hv/pvclock.h"

#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/guest_ram.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define HOUR_NS UINT64_C(3600000000000)
#define KHZ 2794748UL

static struct domain dom;
static struct pvclock clock_of;
static struct pvclock_vcpu vclock;

static int setup(void **state)
{
    (void)state;
    guest_ram_init(&dom, MIB(4));
    clock_of = (struct pvclock){
        .base_tsc = 1000000, .wall_sec = 1700000000, .wall_nsec = 123456789, .wall_msr = 0};
    vclock = (struct pvclock_vcpu){0};
    return 0;
}

static uint64_t exact_ns(uint64_t khz, uint64_t cycles)
{
    return (uint64_t)((unsigned __int128)cycles * 1000000U / khz);
}

static void check_frequency(uint64_t khz)
{
    struct pvclock_scale s;
    uint64_t hour = khz * 3600000, previous = 0;

    assert_int_equal(pvclock_scale(khz, &s), 0);
    assert_true(s.mul >= UINT32_C(1) << 31);
    for (uint64_t part = 1; part <= 16; part++) {
        uint64_t cycles = hour / 16 * part;
        uint64_t ns = pvclock_ns(&s, cycles), want = exact_ns(khz, cycles);
        /* 1 us in an hour, and what one cycle of the right shift and the rounding down make. */
        uint64_t bound = 1000 * part / 16 + 2;

        assert_true((ns > want ? ns - want : want - ns) < bound);
        assert_true(ns > previous);
        previous = ns;
    }
    assert_true((previous > HOUR_NS ? previous - HOUR_NS : HOUR_NS - previous) < 1000);
}

static void test_pvclock_scale__all_frequencies__below_1_us_an_hour(void **state)
{
    static const uint64_t khz[] = {1000,    33333,   999999,  1000000, 1000001,   1999999,
                                   2000000, 2000001, 2399998, 2794748, 3000000,   3500000,
                                   3999999, 4000000, 4000001, 5700000, 8000000,   UINT32_MAX,
                                   500000,  500001,  499999,  250000,  123456789, 2100000};
    uint64_t random = 12345;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(khz); i++) {
        check_frequency(khz[i]);
    }
    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        check_frequency(1000 + (random >> 33) % 8000000);
    }
}

static void test_pvclock_scale__impossible_frequencies__erange(void **state)
{
    struct pvclock_scale s = {7, 7};

    (void)state;
    assert_int_equal(pvclock_scale(0, &s), -ERANGE);
    assert_int_equal(pvclock_scale(UINT64_C(1) << 32, &s), -ERANGE);
    assert_int_equal(pvclock_scale(UINT64_MAX, &s), -ERANGE);
    assert_int_equal(s.mul, 7);
    assert_int_equal(pvclock_scale(1, &s), 0);
    assert_int_equal(pvclock_ns(&s, 1), 1000000);
    assert_int_equal(pvclock_scale(UINT32_MAX, &s), 0);
}

/* Years of uptime: no overflow on the way. */
static void test_pvclock_ns__ten_years__still_right(void **state)
{
    struct pvclock_scale s;
    uint64_t cycles = KHZ * 1000 * 86400 * 3652;
    uint64_t want = exact_ns(KHZ, cycles);

    (void)state;
    assert_int_equal(pvclock_scale(KHZ, &s), 0);
    uint64_t ns = pvclock_ns(&s, cycles);
    assert_true((ns > want ? ns - want : want - ns) < want >> 32);
}

static struct pvclock_time_info info_at(uint64_t gpa)
{
    struct pvclock_time_info t;

    memcpy(&t, guest_ram(&dom, gpa, sizeof(t)), sizeof(t));
    return t;
}

/* As the guest computes it. */
static uint64_t guest_time(uint64_t gpa, uint64_t guest_tsc)
{
    const struct pvclock_time_info t = info_at(gpa);
    const struct pvclock_scale s = {t.tsc_to_system_mul, t.tsc_shift};

    assert_int_equal(t.version % 2, 0);
    return t.system_time + pvclock_ns(&s, guest_tsc - t.tsc_timestamp);
}

static int write_msr(uint32_t index, uint64_t value, uint64_t offset)
{
    return pvclock_wrmsr(&dom, &clock_of, &vclock, index, value, KHZ, offset);
}

static void test_pvclock_wrmsr__system_time__filled_and_versioned(void **state)
{
    uint64_t gpa = MIB(1) + PAGE_SIZE - 12; /* crosses a page */
    struct pvclock_time_info t;

    (void)state;
    memset(guest_ram(&dom, gpa, sizeof(t)), 0x55, sizeof(t));
    assert_int_equal(write_msr(MSR_KVM_SYSTEM_TIME, gpa | 1, 0), 0);
    assert_int_equal(pvclock_rdmsr(&clock_of, &vclock, MSR_KVM_SYSTEM_TIME), gpa | 1);
    t = info_at(gpa);
    assert_int_equal(t.version, 0x55555556);
    assert_int_equal(t.flags, PVCLOCK_TSC_STABLE);
    assert_int_equal(t.reserved0 | t.reserved1[0] | t.reserved1[1], 0);
    assert_int_equal(guest_time(gpa, 1000000), 0);
    assert_int_equal(guest_time(gpa, 1000000 + KHZ * 1000) / 100, 9999999); /* rounded down */
    pvclock_refresh(&dom, &clock_of, &vclock, KHZ, 0);
    assert_int_equal(info_at(gpa).version, 0x55555558);
    memset(guest_ram(&dom, gpa, 4), 0xff, 4); /* odd, and it wraps */
    pvclock_refresh(&dom, &clock_of, &vclock, KHZ, 0);
    assert_int_equal(info_at(gpa).version, 0);
    /* Off: kept, nothing written any more. */
    assert_int_equal(write_msr(MSR_KVM_SYSTEM_TIME, gpa, 0), 0);
    pvclock_refresh(&dom, &clock_of, &vclock, KHZ, 0);
    assert_int_equal(info_at(gpa).version, 0);
}

/* The same host instant is the same time, whatever a vCPU's TSC says, also before its zero. */
static void test_pvclock_wrmsr__tsc_offsets__one_time_on_all_vcpus(void **state)
{
    static const uint64_t offsets[] = {0, 5, -UINT64_C(1000000), -UINT64_C(3000000), 1UL << 62};
    uint64_t want = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        uint64_t gpa = MIB(1) + i * 64, host = 1000000 + KHZ * 12345;

        assert_int_equal(write_msr(MSR_KVM_SYSTEM_TIME, gpa | 1, offsets[i]), 0);
        uint64_t ns = guest_time(gpa, host + offsets[i]);
        assert_true(ns != 0 && (i == 0 || ns == want));
        want = ns;
    }
}

static void test_pvclock_wrmsr__wall_clock__filled_at_each_write(void **state)
{
    const struct pvclock_wall_clock *w = guest_ram(&dom, 0x2004, sizeof(*w));

    (void)state;
    assert_int_equal(write_msr(MSR_KVM_WALL_CLOCK, 0x2004, 0), 0);
    assert_int_equal(w->version, 2);
    assert_int_equal(w->sec, 1700000000);
    assert_int_equal(w->nsec, 123456789);
    assert_int_equal(pvclock_rdmsr(&clock_of, &vclock, MSR_KVM_WALL_CLOCK), 0x2004);
    assert_int_equal(write_msr(MSR_KVM_WALL_CLOCK, 0x2004, 0), 0);
    assert_int_equal(w->version, 4);
}

static void test_pvclock_wrmsr__bad_addresses__refused_and_unchanged(void **state)
{
    static const uint64_t bad[] = {0x1003,          0x1002,     MIB(4) + 1,        MIB(4) - 8 + 1,
                                   GIB(4) + 1,      UINT64_MAX, UINT64_MAX & ~2UL, 1UL << 63 | 1,
                                   -UINT64_C(4) + 1};

    (void)state;
    assert_int_equal(write_msr(MSR_KVM_SYSTEM_TIME, 0x1001, 0), 0);
    memset(guest_ram(&dom, MIB(4) - 8, 8), 0, 8);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(write_msr(MSR_KVM_SYSTEM_TIME, bad[i], 0), -EINVAL);
        assert_int_equal(write_msr(MSR_KVM_WALL_CLOCK, bad[i], 0), -EINVAL);
    }
    assert_int_equal(write_msr(MSR_KVM_WALL_CLOCK, MIB(4) - 8, 0), -EINVAL);
    assert_int_equal(vclock.system_time_msr, 0x1001);
    assert_int_equal(clock_of.wall_msr, 0);
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(((uint8_t *)guest_ram(&dom, MIB(4) - 8, 8))[i], 0);
    }
    assert_int_equal(pvclock_wrmsr(&dom, &clock_of, &vclock, MSR_KVM_SYSTEM_TIME, 0x1001, 0, 0),
                     -EINVAL);
}

static void test_pvclock_cpuid__leaves__kvm(void **state)
{
    struct cpuid_values v = {1, 2, 3, 4};
    char signature[12];

    (void)state;
    assert_false(pvclock_cpuid(0x40000000, &v));
    assert_false(pvclock_cpuid(0x40000102, &v));
    assert_int_equal(v.eax, 1);
    assert_true(pvclock_cpuid(0x40000100, &v));
    assert_int_equal(v.eax, 0x40000101);
    memcpy(signature, &v.ebx, 4);
    memcpy(signature + 4, &v.ecx, 4);
    memcpy(signature + 8, &v.edx, 4);
    assert_memory_equal(signature, "KVMKVMKVM\0\0\0", 12);
    assert_true(pvclock_cpuid(0x40000101, &v));
    assert_int_equal(v.eax, 0x01000008);
    assert_int_equal(v.ebx | v.ecx | v.edx, 0);
    assert_true(pvclock_is_msr(0x4b564d00) && pvclock_is_msr(0x4b564d01));
    assert_false(pvclock_is_msr(0x4b564d02) || pvclock_is_msr(0x11) || pvclock_is_msr(0x12));
}

static void test_pvclock_valid__streams__checked(void **state)
{
    struct pvclock c = clock_of;
    struct pvclock_vcpu v = {.system_time_msr = 0x1001};

    (void)state;
    assert_true(pvclock_valid(&c));
    assert_true(pvclock_vcpu_valid(&v));
    c.wall_nsec = 1000000000;
    assert_false(pvclock_valid(&c));
    c = clock_of;
    c.wall_msr = 2;
    assert_false(pvclock_valid(&c));
    v.system_time_msr = 0x1003;
    assert_false(pvclock_vcpu_valid(&v));
    v.system_time_msr = 0x1000;
    assert_true(pvclock_vcpu_valid(&v));
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pvclock_scale__all_frequencies__below_1_us_an_hour),
        TEST(test_pvclock_scale__impossible_frequencies__erange),
        TEST(test_pvclock_ns__ten_years__still_right),
        TEST(test_pvclock_wrmsr__system_time__filled_and_versioned),
        TEST(test_pvclock_wrmsr__tsc_offsets__one_time_on_all_vcpus),
        TEST(test_pvclock_wrmsr__wall_clock__filled_at_each_write),
        TEST(test_pvclock_wrmsr__bad_addresses__refused_and_unchanged),
        TEST(test_pvclock_cpuid__leaves__kvm),
        TEST(test_pvclock_valid__streams__checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
