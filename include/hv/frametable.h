/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frametable: who owns which frame of RAM.
 *
 * Two levels: one 16-byte entry per 2 MiB section; a section that is not of one piece points to a
 * page-entry table for its 512 frames. A block of order >= ORDER_2M is described by the entry of
 * its first section alone, so that ownership costs O(blocks) and not O(frames). A count per GiB of
 * sections in use lets big claims and the opening of the heap skip what is untouched.
 * Everything starts as zero = FRAME_NONE: RAM that nobody claimed and the heap does not have yet.
 *
 * Lock: heap_lock (with hv/buddy.h). Memory: boot_alloc() and pool_alloc(), so the arena.
 */
#ifndef HV_FRAMETABLE_H
#define HV_FRAMETABLE_H

#include "hv/compiler.h"
#include "hv/e820.h"
#include "hv/types.h"
#include "public/lu_abi.h"

enum frame_state {
    FRAME_NONE,     /* RAM, not opened yet (or no RAM at all) */
    FRAME_FREE,     /* in the heap's free lists */
    FRAME_IMAGE,    /* image heap: private to the running image */
    FRAME_REGION,   /* the live-update region */
    FRAME_BAD,      /* badpage= or offlined; never used */
    FRAME_RESERVED, /* RAM that molt leaves alone (frame 0) */
    FRAME_GUEST,    /* preserved: guest memory, owner = domain id */
    FRAME_STREAM,   /* preserved: stream and MFN list */
    FRAME_MODULE,   /* preserved: a multiboot2 module that is kept */
    FRAME_RECORDER, /* preserved: the flight recorder */
    FRAME_STATES
};

#define OWNER_NONE 0xffffU

/* True for the kinds that cross an update; they may not lie in the region. */
static inline bool frame_state_preserved(enum frame_state s)
{
    return s == FRAME_GUEST || s == FRAME_STREAM || s == FRAME_MODULE || s == FRAME_RECORDER;
}

struct frame_info {
    enum frame_state state;
    unsigned int order; /* of the block that the frame belongs to */
    uint16_t owner;     /* domain id or OWNER_NONE */
    mfn_t head;         /* first frame of the block */
};

/* Allocates the section table for all RAM of the map, whose ranges must stay where they are. Boot
 * CPU, once. 0 or -ENOMEM. */
MUST_CHECK int frametable_init(const struct e820 *map);

/* Bytes of arena that frametable_init() takes for RAM up to ram_end. */
uint64_t frametable_bytes(paddr_t ram_end);

/*
 * Takes a naturally aligned block that is FRAME_NONE as a whole. Returns 0; -EINVAL (order,
 * alignment, not RAM, FRAME_NONE/FREE asked for); -EPERM (a preserved kind inside the region);
 * -EBUSY (some frame is taken); -ENOMEM (no page-entry table). On failure nothing has changed.
 */
MUST_CHECK int frametable_claim(mfn_t mfn, unsigned int order, enum frame_state state,
                                uint16_t owner);

/*
 * The same for the frames of a domain's extents, in their order. Returns how many were claimed;
 * below nr, *rc is why the next one was not, else 0.
 */
MUST_CHECK size_t frametable_claim_extents(const struct lu_extent *e, size_t nr, uint16_t owner,
                                           int *rc);

/*
 * The same for any range, in the largest blocks there are. FRAME_BAD ranges may reach outside RAM
 * (that part is skipped) and over frames that are bad already; a FRAME_REGION range may hold frames
 * that are bad, and they stay so. On failure nothing has changed.
 */
MUST_CHECK int frametable_claim_range(mfn_t start, mfn_t end, enum frame_state state,
                                      uint16_t owner);

/* Gives a claimed block back as FRAME_NONE while the heap is not open there (adoption undone); the
 * block must be exactly one that was claimed. */
void frametable_unclaim(mfn_t mfn, unsigned int order);

/* What a frame is. FRAME_NONE, order 0 for frames outside the table. */
struct frame_info frametable_get(mfn_t mfn);

/* Frames in a state, kept up to date by every change (FRAME_NONE: RAM not opened yet). */
uint64_t frametable_count(enum frame_state state);

/* Counts by walking the whole table, for checks: out[FRAME_STATES]. */
void frametable_walk(uint64_t out[FRAME_STATES]);

/* Sections that hold blocks below ORDER_2M of preserved kinds: each costs the next image one
 * page-entry table. */
uint64_t frametable_split_preserved(void);

#endif
