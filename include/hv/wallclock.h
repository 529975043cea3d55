/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time of day: read once at cold boot from the host's clock chip, counted by the TSC from then on.
 */
#ifndef HV_WALLCLOCK_H
#define HV_WALLCLOCK_H

#include "hv/compiler.h"
#include "hv/pvclock.h"
#include "hv/types.h"

/* What the chip's registers say. */
struct rtc_registers {
    uint8_t seconds, minutes, hours, day, month, year, century, status_b;
};

/* Seconds since 1970, the chip's time taken as UTC. 0, or -EINVAL: no date. Pure. */
MUST_CHECK int rtc_decode(const struct rtc_registers *r, uint64_t *seconds);

/* Cold boot, tsc_khz known: reads the chip, some 2 ms at worst, and prints what it says. Without a
 * chip, or if it is not set, domains' time begins in 1970. */
void wallclock_init(void);

/* Update boot: a domain's clock that has come over tells the time as well. */
void wallclock_learn(const struct pvclock *clock);

/* The clock of a domain whose time begins now. */
void wallclock_start(struct pvclock *clock);

/* Seam: a register of the chip. hv_lock or boot. */
uint8_t cmos_read(uint8_t index);

#endif
