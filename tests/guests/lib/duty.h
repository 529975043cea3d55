/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the self-checking guests do beside their windows: tick lines, polls of HC_INFO, a counter, a
 * checksum of their own code, short sleeps, the end.
 *
 * Command line: seconds=N (end by itself; without molt 5), tick=MS (500), seed=N, sleep=US (1000;
 * 0: never sleeps).
 */
#ifndef GUEST_DUTY_H
#define GUEST_DUTY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/lib.h"

/* After ram_init() and clock_init(): starts the memory patterns, prints the first line `NAME ...`,
 * watches the clock from here on. Returns a seed for the caller's random numbers. */
uint64_t duty_init(const char *name);
/* Does what is due: tick line, poll. Returns the time in ms. To be called often. */
uint64_t duty_service(void);
/* Time is up, or molt said so. */
bool duty_over(void);
void duty_check_code(void);
void duty_check_counter(void);
/* One HC_SLEEP, never shorter than asked for. */
void duty_check_sleep(void);
/* Verifies everything once more, reports its own areas and the caller's, figures, summary; ends. */
_Noreturn void duty_finish(struct area *const *areas, size_t count, uint64_t windows);

#endif
