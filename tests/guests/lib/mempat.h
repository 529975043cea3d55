/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory patterns over all free RAM: a page that is lost, stale, moved, swapped or damaged in one
 * bit is noticed.
 *
 * Every page starts with a header that names itself; the rest follows from (seed, page number,
 * generation). A step verifies some pages and rewrites them with the next generation, so at any
 * time the pages before the cursor are one generation ahead of those behind it.
 */
#ifndef GUEST_MEMPAT_H
#define GUEST_MEMPAT_H

#include <stdint.h>

#include "lib/lib.h"

extern struct area mempat_area;

/* Uses ram_free; takes all of it. */
void mempat_init(uint64_t seed);
uint64_t mempat_pages(void);
/* Complete passes (verify and rewrite; the first only writes). */
uint64_t mempat_passes(void);
/* Verifies and rewrites the next pages; watches the clock per page. Ends the guest on damage. */
void mempat_step(unsigned int pages);
/* Verifies all that has been written, calling each (when set) per page. */
void mempat_verify_all(void (*each)(void));

#endif
