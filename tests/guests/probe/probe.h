/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the probe payload: groups of checks, and one function per area.
 */
#ifndef GUEST_PROBE_H
#define GUEST_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cpu.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "lib/x86.h"

/* A group: FAIL per check that fails, one PASS with the number of checks if none did. */
void group_begin(const char *area);
bool check(bool ok, const char *fmt, ...) PRINTF_LIKE(2, 3);
void group_end(const char *what);

/* Bits for expect_vectors(): any exception vector, or none at all. */
#define VECTOR(n) BIT64(n)
#define NO_FAULT BIT64(63)
/* Runs fn(arg); checks that it ended as allowed. Returns whether it faulted. */
bool expect_vectors(const char *what, void (*fn)(void *), void *arg, uint64_t allowed);
/* The same with one vector and its error code. */
bool expect_fault(const char *what, void (*fn)(void *), void *arg, uint32_t vector, uint64_t error);

bool vendor_is_intel(void);
/* Whether reserved bits of control registers and MSRs are looked at: not by QEMU's TCG alone. */
bool engine_is_strict(void);

void probe_cpuid(void);
void probe_msrs(void);
void probe_control(void);
void probe_ports(void);
void probe_uart(void);
void probe_hypercalls(void);
void probe_exceptions(void);
void probe_instructions(void);
void probe_steps(void);
void probe_strings(void);

#endif
