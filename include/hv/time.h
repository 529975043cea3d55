/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host time: TSC cycles and their frequency, measured at cold boot and carried over updates.
 */
#ifndef HV_TIME_H
#define HV_TIME_H

#include "hv/types.h"

extern uint64_t tsc_khz;

static inline uint64_t ms_to_tsc(uint64_t ms)
{
    return ms * tsc_khz;
}

static inline uint64_t us_to_tsc(uint64_t us)
{
    return us / 1000 * tsc_khz + us % 1000 * tsc_khz / 1000;
}

#endif
