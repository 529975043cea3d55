/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest time from the TSC, watched: it must not go back, and must not jump by more than a bound.
 */
#ifndef GUEST_CLOCK_H
#define GUEST_CLOCK_H

#include <stdint.h>

#include "lib/lib.h"

extern struct area clock_area;

/* Frequency from molt's CPUID leaf, or measured against the PIT. Bound: cmdline maxgap=MS. */
void clock_init(void);
uint64_t clock_khz(void);
uint64_t clock_max_allowed_us(void);
/* Reads the TSC and compares it with the reading before; ends the guest on damage. */
uint64_t clock_check(void);
/* Forgets the last reading: the time since then does not count as a gap. */
void clock_restart_gap(void);
/* Microseconds (milliseconds) since clock_init(), checked. */
uint64_t clock_us(void);
uint64_t clock_ms(void);
uint64_t clock_cycles_to_us(uint64_t cycles);
/* The largest gap between two readings so far. */
uint64_t clock_largest_gap_us(void);
/* Busy wait, checked. */
void clock_spin_us(uint64_t us);

/* Prints `TEXT crc=XXXXXXXX\n`, CRC-32 (zlib's) of TEXT. */
void print_crc(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
