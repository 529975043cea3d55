/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System registers held live over a window of ordinary C code: MSRs, debug registers, control
 * registers, descriptor table registers, and what the page tables show.
 */
#ifndef GUEST_CPUSTATE_H
#define GUEST_CPUSTATE_H

#include <stdint.h>

#include "lib/lib.h"

extern struct area msr_area, debug_area, control_area, tables_area, paging_area, cpuid_area;

/* After cpu_init() and paging_init(). Takes trap_hook. */
void cpustate_init(void);
/* Gives every register a new random value that is harmless. */
void cpustate_begin(uint64_t *random);
/* Compares; may be called repeatedly. Ends the guest on damage. */
void cpustate_check(void);
/* Proves that the armed breakpoints fire and the others do not; changes DR6. */
void cpustate_fire(void);
/* The window page of the current root: a cheap check for any moment. */
void cpustate_check_paging(void);

#endif
