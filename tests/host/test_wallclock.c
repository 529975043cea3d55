/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of day: what the clock chip's registers mean, chips that are busy, absent or not set, and
 * the clocks of domains from there on.
 */
#include "hv/wallclock.h"

#include <string.h>
#include <time.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/time.h"

#define KHZ 1000000UL

/* A chip; what it does while its registers are read. */
static struct {
    uint8_t reg[128];
    unsigned int busy_reads;    /* of status A, that still say "updating" */
    unsigned int ticks_at_read; /* its seconds move on at this read of a register, 0: never */
    unsigned int reads;
} chip;

uint8_t cmos_read(uint8_t index)
{
    chip.reads++;
    if (chip.ticks_at_read != 0 && chip.reads == chip.ticks_at_read) {
        chip.reg[0]++;
        chip.reg[2] = 0x59;
    }
    if (index == 0x0a && chip.busy_reads > 0) {
        chip.busy_reads--;
        return chip.reg[index] | 0x80;
    }
    return chip.reg[index];
}

/* 2026-11-21 08:45:30, BCD, 24 hours */
static int setup(void **state)
{
    (void)state;
    memset(&chip, 0, sizeof(chip));
    chip.reg[0x00] = 0x30;
    chip.reg[0x02] = 0x45;
    chip.reg[0x04] = 0x08;
    chip.reg[0x07] = 0x21;
    chip.reg[0x08] = 0x11;
    chip.reg[0x09] = 0x26;
    chip.reg[0x0a] = 0x26;
    chip.reg[0x0b] = 0x02;
    chip.reg[0x32] = 0x20;
    tsc_khz = KHZ;
    fake_tsc = 1000;
    fake_tsc_step = 1000;
    return 0;
}

uint64_t tsc_khz;

#define NOW 1795250730U

static uint8_t bcd(int n)
{
    return (uint8_t)(n / 10 << 4 | n % 10);
}

static uint8_t coded(bool binary, int n)
{
    return binary ? (uint8_t)n : bcd(n);
}

/* Against the C library, in all four formats; every hour of some days, days of all kinds. */
static void test_rtc_decode__dates_and_formats__as_the_c_library(void **state)
{
    (void)state;
    for (int64_t t = 0; t < INT64_C(4102444800) + 86400 * 60; t += 3600 * 13 + 59 * 60 + 57) {
        const time_t when = (time_t)t;
        struct tm tm;

        gmtime_r(&when, &tm);
        for (unsigned int format = 0; format < 4; format++) {
            bool binary = format & 1, h24 = format & 2;
            int hour = h24 ? tm.tm_hour : (tm.tm_hour + 11) % 12 + 1;
            int century = (tm.tm_year + 1900) / 100;
            struct rtc_registers r = {
                .seconds = coded(binary, tm.tm_sec),
                .minutes = coded(binary, tm.tm_min),
                .hours = coded(binary, hour),
                .day = coded(binary, tm.tm_mday),
                .month = coded(binary, tm.tm_mon + 1),
                .year = coded(binary, tm.tm_year % 100),
                .century = coded(binary, century),
                .status_b = (uint8_t)((binary ? 4 : 0) | (h24 ? 2 : 0)),
            };
            uint64_t seconds = 0;

            if (!h24 && tm.tm_hour >= 12) {
                r.hours = (uint8_t)(r.hours | 0x80);
            }
            assert_int_equal(rtc_decode(&r, &seconds), 0);
            assert_int_equal(seconds, t);
            /* a chip without a century */
            if (t < INT64_C(3155760000)) { /* 2070 */
                static const uint8_t none[] = {0, 0xff, 0x18, 0x99};

                for (size_t i = 0; i < sizeof(none); i++) {
                    r.century = none[i];
                    assert_int_equal(rtc_decode(&r, &seconds), 0);
                    assert_int_equal(seconds, t);
                }
            }
        }
    }
}

static void test_rtc_decode__no_date__refused(void **state)
{
    static const struct {
        unsigned int at; /* a register of the chip */
        uint8_t value;
        uint8_t b;
    } rows[] = {
        {0x00, 0x60, 2}, {0x00, 0x5a, 2}, {0x00, 0xff, 2}, {0x02, 0x60, 2}, {0x02, 0x1f, 2},
        {0x04, 0x24, 2}, {0x04, 0x92, 2}, {0x04, 0x00, 0}, {0x04, 0x13, 0}, {0x04, 0x93, 0},
        {0x07, 0x00, 2}, {0x07, 0x31, 2}, {0x07, 0x32, 2}, {0x07, 0x0a, 2}, {0x08, 0x00, 2},
        {0x08, 0x13, 2}, {0x09, 0xa0, 2}, {0x00, 60, 6},   {0x02, 60, 6},   {0x04, 24, 6},
        {0x07, 0, 6},    {0x08, 0, 6},    {0x08, 13, 6},   {0x09, 100, 6},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rtc_registers r = {0x30, 0x45, 0x08, 0x21, 0x11, 0x26, 0x20, rows[i].b};
        uint64_t seconds = 77;

        (void)state;
        if (rows[i].b & 4) {
            r = (struct rtc_registers){30, 45, 8, 21, 11, 26, 20, rows[i].b};
        }
        assert_int_equal(rtc_decode(&r, &seconds), 0);
        uint8_t *fields[] = {[0] = &r.seconds, [2] = &r.minutes, [4] = &r.hours,
                             [7] = &r.day,     [8] = &r.month,   [9] = &r.year};
        *fields[rows[i].at] = rows[i].value;
        seconds = 77;
        assert_int_equal(rtc_decode(&r, &seconds), -EINVAL);
        assert_int_equal(seconds, 77);
    }
}

static void test_rtc_decode__ends_of_months__leap_years(void **state)
{
    static const struct {
        uint8_t century, year, month, last;
    } rows[] = {{0x20, 0x24, 2, 0x29}, {0x20, 0x23, 2, 0x28}, {0x20, 0x00, 2, 0x29},
                {0x21, 0x00, 2, 0x28}, {0x20, 0x26, 4, 0x30}, {0x20, 0x26, 0x12, 0x31}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct rtc_registers r = {
            0, 0, 0, rows[i].last, rows[i].month, rows[i].year, rows[i].century, 0x02};
        uint64_t seconds;

        assert_int_equal(rtc_decode(&r, &seconds), 0);
        r.day = bcd((r.day >> 4) * 10 + (r.day & 15) + 1);
        assert_int_equal(rtc_decode(&r, &seconds), -EINVAL);
    }
}

static void check_domain(uint64_t sec, uint32_t nsec)
{
    struct pvclock clock = {.wall_msr = 0x1000};

    wallclock_start(&clock);
    assert_int_equal(clock.wall_sec, sec);
    assert_int_equal(clock.wall_nsec, nsec);
    assert_int_equal(clock.wall_msr, 0x1000); /* not its own */
    assert_true(pvclock_valid(&clock));
}

/* Domains made later begin later: by the TSC, to the nanosecond. */
static void test_wallclock__domains__begin_at_their_time(void **state)
{
    struct pvclock clock = {0};

    setup(state);
    wallclock_init();
    fake_tsc_step = 0;
    wallclock_start(&clock);
    uint64_t first = clock.base_tsc;
    assert_int_equal(clock.wall_sec, NOW);
    assert_true(clock.wall_nsec < 1000000);
    fake_tsc = first - clock.wall_nsec; /* 1 cycle is 1 ns */
    check_domain(NOW, 0);
    fake_tsc += KHZ * 1000 - 1;
    check_domain(NOW, 999999999);
    fake_tsc += 1;
    check_domain(NOW + 1, 0);
    fake_tsc += UINT64_C(86400) * 365 * KHZ * 1000; /* a year */
    check_domain(NOW + 1 + 86400 * 365, 0);
    fake_tsc = 0; /* before it was read: the TSC does not go back, and nothing breaks */
    check_domain(NOW, 0);
}

/* The new image asks no chip: what has come over tells the time. */
static void test_wallclock_learn__after_an_update__goes_on(void **state)
{
    const struct pvclock unset = {.base_tsc = 5};
    const struct pvclock over = {.base_tsc = 1000, .wall_sec = 5000, .wall_nsec = 999999000};
    const struct pvclock other = {.base_tsc = 3000, .wall_sec = 8000};

    setup(state);
    memset(chip.reg, 0xff, sizeof(chip.reg));
    wallclock_init();
    fake_tsc_step = 0;
    wallclock_learn(&unset);
    fake_tsc = 2000;
    check_domain(0, 0);
    wallclock_learn(&over);
    check_domain(5001, 0);
    wallclock_learn(&other); /* one is enough */
    check_domain(5001, 0);
    fake_tsc = 1000;
    check_domain(5000, 999999000);
}

static void test_wallclock__chip_updates__waited_for(void **state)
{
    for (unsigned int at = 0; at < 40; at++) {
        setup(state);
        chip.busy_reads = at % 5;
        chip.ticks_at_read = at; /* never torn: before it or after it */
        wallclock_init();
        fake_tsc_step = 0;
        struct pvclock clock = {0};
        wallclock_start(&clock);
        /* 08:45:30, or 08:59:31 once the registers have moved */
        assert_true(clock.wall_sec == NOW || clock.wall_sec == NOW + 14 * 60 + 1);
    }
}

static void test_wallclock__busy_for_ever__given_up(void **state)
{
    setup(state);
    chip.busy_reads = ~0U;
    fake_tsc_step = KHZ / 100;
    wallclock_init();
    assert_true(chip.reads < 5000);
    assert_non_null(strstr(fake_log(), "cannot be read"));
    check_domain(0, 0);
}

/* Never twice the same: a chip that makes no sense. */
static void test_wallclock__never_stable__given_up(void **state)
{
    setup(state);
    fake_tsc_step = KHZ / 100;
    chip.reg[0x0b] = 0xff;
    chip.reg[0x0a] = 0xff;
    wallclock_init(); /* absent */
    assert_true(chip.reads <= 2);
    assert_non_null(strstr(fake_log(), "no clock chip"));
    check_domain(0, 0);
    setup(state);
    chip.reg[0x08] = 0;
    wallclock_init();
    assert_non_null(strstr(fake_log(), "not set"));
    check_domain(0, 0);
}

static void test_wallclock__impossible_frequency__no_time(void **state)
{
    setup(state);
    wallclock_init();
    tsc_khz = 0;
    check_domain(0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rtc_decode__dates_and_formats__as_the_c_library),
        cmocka_unit_test(test_rtc_decode__no_date__refused),
        cmocka_unit_test(test_rtc_decode__ends_of_months__leap_years),
        cmocka_unit_test(test_wallclock__domains__begin_at_their_time),
        cmocka_unit_test(test_wallclock_learn__after_an_update__goes_on),
        cmocka_unit_test(test_wallclock__chip_updates__waited_for),
        cmocka_unit_test(test_wallclock__busy_for_ever__given_up),
        cmocka_unit_test(test_wallclock__never_stable__given_up),
        cmocka_unit_test(test_wallclock__impossible_frequency__no_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
