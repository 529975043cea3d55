/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reads the flight recorder: console, control domain, a panic.
 */
#ifndef HV_LOG_H
#define HV_LOG_H

#include "hv/types.h"

struct vcpu;

/* Prints those of the last `lines` entries before number `before` that are good, without recording
 * them again. Needs neither heap nor locks. */
void log_print(uint64_t lines, uint64_t before);

/* HC_LU_LOG. hv_lock held. */
int64_t log_call(struct vcpu *v);

#endif
