/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back: from the jump until commit 1, a new image that cannot go on returns to the old one.
 *
 *   old image   way_back_begin()   the pause begins: what fails in this image leaves it too
 *               way_back_offer()   the block in the handover page, before the jump
 *               way_back_close()   back, or the update was refused
 *   new image   way_back_find()    the block is there: from now on this image may go back
 *               way_back_close()   commit 1: from now on it may not
 *   both        way_back_take()    wherever molt can fail: panic(), exceptions, refusals, a late
 * NMI
 *
 * The CPU that jumps uses it alone; the others are parked meanwhile.
 */
#ifndef HV_WAY_BACK_H
#define HV_WAY_BACK_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "public/lu_abi.h"

/* Inside escape_call(): failures of this image end it from here on. `page` lies at page_pa;
 * deadline_tsc: host TSC, 0: none. */
void way_back_begin(struct lu_handover *page, paddr_t page_pa, uint64_t deadline_tsc);

/* Writes the block, twice: for the next image and for the relocator. Of `block` nonce, cpus,
 * list_crc and flags; `watched`: the next image gets the deadline too. */
void way_back_offer(const struct lu_way_back *block, bool watched);

/* The page at pa is what the relocator handed to this image. True and a copy of the block: one of
 * the two is good, and the way back is open. Runs on the early tables, exceptions are handled. */
bool way_back_find(paddr_t pa, struct lu_way_back *out);

bool way_back_open(void);
void way_back_close(void);

/* Open, and the deadline has passed: for NMI handlers. */
bool way_back_late(void);

/* Goes back with the reason (LU_FAIL_*) left in the handover page. Returns when the way back is not
 * open, or when the old image fails in the middle of its memory management, or on another CPU than
 * the first: nothing can go on with that. Needs no heap and no locks. */
void way_back_take(uint32_t kind, uint32_t vector, uint64_t rip, const char *text);

/* The new image finds that it cannot take over: back, or a panic where there is no way back. */
NORETURN PRINTF(1, 2) void way_back_refuse(const char *fmt, ...);

#endif
