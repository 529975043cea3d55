/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heap: buddy allocator over the frametable, 4 KiB to 1 GiB.
 *
 * Opening the heap feeds every FRAME_NONE run of RAM in its largest aligned blocks, in slices, so
 * that guests run in between. Free-list links live in frametable entries: free memory itself is
 * never touched, but for a section's first frame, which holds its table when the arena is full. An
 * allocation that finds nothing opens further slices first; not before the first buddy_open_step(),
 * because until then claims of the boot may be missing.
 *
 * Lock: heap_lock. Invariant: a free block's buddy of the same order is never free.
 */
#ifndef HV_BUDDY_H
#define HV_BUDDY_H

#include "hv/compiler.h"
#include "hv/frametable.h"

/* Once, after frametable_init(); the heap is empty and closed. */
void buddy_init(void);

/* Feeds at most `blocks` blocks; true when all RAM is open (and on every later call). */
bool buddy_open_step(unsigned int blocks);
bool buddy_opened(void);

/*
 * A naturally aligned block of 2^order frames, contents undefined, now in `state` (FRAME_IMAGE or a
 * preserved kind) and owned. INVALID_MFN when there is none, or when state or order is not allowed.
 */
mfn_t buddy_alloc(unsigned int order, enum frame_state state, uint16_t owner);

/* Frees a block that buddy_alloc() or frametable_claim() gave, with its order. BUG on anything
 * else; never takes FRAME_BAD, FRAME_REGION or FRAME_RESERVED. */
void buddy_free(mfn_t mfn, unsigned int order);

/* Frames in the free lists (without what is not opened yet). */
uint64_t buddy_free_frames(void);

/* Largest order with a free block; -1 when the heap is empty. */
int buddy_largest_order(void);

/* A CPU is in the middle of it: see mm_busy(). */
bool buddy_busy(void);

#endif
