/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A domain's memory for host tests of what writes to it: domain_read() and domain_write() over a
 * sparse mapping, kzalloc(), vcpu_state_reset() and what core/state_check.c asks of the CPU.
 */
#ifndef FAKES_GUEST_RAM_H
#define FAKES_GUEST_RAM_H

#include "hv/domain.h"

#define GUEST_RAM_MAX GIB(5) /* end of the addresses */

/* Fresh zeroed memory for this domain: [0, 3 GiB) and the rest from 4 GiB on. One at a time. */
void guest_ram_init(struct domain *d, uint64_t bytes);

/* The bytes at a guest-physical address. Fails the test outside the memory. */
void *guest_ram(const struct domain *d, uint64_t gpa, uint64_t len);

/* kzalloc() fails after n more successes (n < 0: never); objects not freed. */
void guest_ram_fail_alloc_after(long n);
long guest_ram_objects(void);

#endif
