/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of day.
 *
 * The chip is an MC146818 or its successors in chip sets; register 0x32 is the century by custom.
 * MC146818 data sheet, "Time, Calendar, and Alarm Locations", "Registers"; Intel ICH data sheets,
 * "Real Time Clock Registers". Host test: tests/host/test_wallclock.c
 * Invariant: one pair of TSC and time of day is kept; all others follow from tsc_khz.
 */
#include "hv/wallclock.h"

#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/time.h"
#include "hw/rtc.h"

#define NS_PER_SEC 1000000000UL
#define SECONDS_PER_DAY 86400U
#define EPOCH_YEAR 1970U
#define PATIENCE_MS 20U /* an update of the chip's registers takes 2 ms at most */
#define ABSENT 0xffU    /* what a port without a device reads as */

static uint64_t known_sec; /* 0: not known */
static uint64_t known_nsec;
static uint64_t known_tsc;

static bool from_bcd(uint8_t *value)
{
    if ((*value & 0xf) > 9 || *value >> 4 > 9) {
        return false;
    }
    *value = (uint8_t)((*value >> 4) * 10 + (*value & 0xf));
    return true;
}

/* All fields in binary; the hour from 0 to 23. */
static bool to_binary(struct rtc_registers *r)
{
    bool pm = r->hours & RTC_HOURS_PM;

    if (!(r->status_b & RTC_B_24H)) {
        r->hours &= (uint8_t)~RTC_HOURS_PM;
    }
    if (!(r->status_b & RTC_B_BINARY)) {
        if (!from_bcd(&r->seconds) || !from_bcd(&r->minutes) || !from_bcd(&r->hours) ||
            !from_bcd(&r->day) || !from_bcd(&r->month) || !from_bcd(&r->year)) {
            return false;
        }
        /* Not every chip has one: rubbish there is no error. */
        r->century = from_bcd(&r->century) ? r->century : 0;
    }
    if (!(r->status_b & RTC_B_24H)) {
        if (r->hours == 0 || r->hours > 12) {
            return false;
        }
        r->hours = (uint8_t)(r->hours % 12 + (pm ? 12 : 0));
    }
    return true;
}

static bool is_leap(unsigned int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned int days_in_month(unsigned int year, unsigned int month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && is_leap(year) ? 1U : 0U);
}

/* Two digits and, where there is one, the century; without it years from 1970 to 2069. */
static unsigned int full_year(const struct rtc_registers *r)
{
    if (r->century >= 19 && r->century <= 21) {
        return r->century * 100U + r->year;
    }
    return r->year + (r->year >= EPOCH_YEAR % 100 ? 1900U : 2000U);
}

int rtc_decode(const struct rtc_registers *registers, uint64_t *seconds)
{
    struct rtc_registers r = *registers;
    unsigned int year;
    uint64_t days = 0;

    if (!to_binary(&r)) {
        return -EINVAL;
    }
    year = full_year(&r);
    if (r.seconds > 59 || r.minutes > 59 || r.hours > 23 || r.year > 99 || year < EPOCH_YEAR ||
        r.month < 1 || r.month > 12 || r.day < 1 || r.day > days_in_month(year, r.month)) {
        return -EINVAL;
    }
    for (unsigned int y = EPOCH_YEAR; y < year; y++) {
        days += is_leap(y) ? 366 : 365;
    }
    for (unsigned int m = 1; m < r.month; m++) {
        days += days_in_month(year, m);
    }
    days += r.day - 1U;
    *seconds = days * SECONDS_PER_DAY + r.hours * 3600U + r.minutes * 60U + r.seconds;
    return 0;
}

static struct rtc_registers read_registers(void)
{
    return (struct rtc_registers){.seconds = cmos_read(RTC_SECONDS),
                                  .minutes = cmos_read(RTC_MINUTES),
                                  .hours = cmos_read(RTC_HOURS),
                                  .day = cmos_read(RTC_DAY),
                                  .month = cmos_read(RTC_MONTH),
                                  .year = cmos_read(RTC_YEAR),
                                  .century = cmos_read(RTC_CENTURY),
                                  .status_b = cmos_read(RTC_STATUS_B)};
}

static bool is_same(const struct rtc_registers *a, const struct rtc_registers *b)
{
    return a->seconds == b->seconds && a->minutes == b->minutes && a->hours == b->hours &&
           a->day == b->day && a->month == b->month && a->year == b->year &&
           a->century == b->century && a->status_b == b->status_b;
}

/* Registers change while the chip updates them: read between two updates, twice the same. False:
 * the chip never stops updating, so there is none. */
static bool read_stable(struct rtc_registers *r)
{
    uint64_t give_up = tsc_read() + ms_to_tsc(PATIENCE_MS);

    do {
        if (!(cmos_read(RTC_STATUS_A) & RTC_A_UPDATING)) {
            struct rtc_registers again;

            *r = read_registers();
            again = read_registers();
            if (!(cmos_read(RTC_STATUS_A) & RTC_A_UPDATING) && is_same(r, &again)) {
                return true;
            }
        }
        cpu_pause();
    } while (tsc_read() < give_up);
    return false;
}

void wallclock_init(void)
{
    struct rtc_registers r;
    uint64_t seconds;

    known_sec = 0;
    known_nsec = 0;
    if (cmos_read(RTC_STATUS_A) == ABSENT && cmos_read(RTC_STATUS_B) == ABSENT) {
        printk("wall clock: there is no clock chip; guests begin in 1970");
    } else if (!read_stable(&r)) {
        printk("wall clock: the clock chip cannot be read; guests begin in 1970");
    } else if (rtc_decode(&r, &seconds) != 0) {
        printk("wall clock: the clock chip is not set; guests begin in 1970");
    } else {
        known_sec = seconds;
        known_tsc = tsc_read();
        printk("wall clock: %llu seconds since 1970", (unsigned long long)seconds);
    }
}

void wallclock_learn(const struct pvclock *clock)
{
    if (known_sec == 0 && clock->wall_sec != 0) {
        known_sec = clock->wall_sec;
        known_nsec = clock->wall_nsec;
        known_tsc = clock->base_tsc;
    }
}

void wallclock_start(struct pvclock *clock)
{
    struct pvclock_scale scale;
    uint64_t ns;

    clock->base_tsc = tsc_read();
    clock->wall_sec = 0;
    clock->wall_nsec = 0;
    if (known_sec == 0 || pvclock_scale(tsc_khz, &scale) != 0) {
        return;
    }
    ns = known_nsec;
    ns += clock->base_tsc > known_tsc ? pvclock_ns(&scale, clock->base_tsc - known_tsc) : 0;
    clock->wall_sec = known_sec + ns / NS_PER_SEC;
    clock->wall_nsec = (uint32_t)(ns % NS_PER_SEC);
}
