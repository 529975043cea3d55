/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map: what the firmware calls RAM.
 */
#ifndef HV_E820_H
#define HV_E820_H

#include "hv/compiler.h"
#include "hv/types.h"

#define E820_RAM 1U

struct e820_range {
    paddr_t start; /* bytes, half-open */
    paddr_t end;
    uint32_t type; /* E820_RAM or anything else: firmware */
};

/* Sorted, without overlaps, merged; RAM ranges are whole pages. Any number of entries. */
struct e820 {
    struct e820_range *ranges;
    size_t nr;
};

/*
 * Normalizes raw[0..*nr) in place: empty and wrapping entries dropped, sorted, overlaps resolved
 * (what is not RAM wins), RAM shrunk to whole pages, neighbours of one type merged. Overlaps can
 * need more entries than came in: capacity must be at least 2 * *nr + 1. RAM above 2^52 is cut off.
 * Returns 0 or -EINVAL (capacity too small).
 */
MUST_CHECK int e820_normalise(struct e820_range *raw, size_t *nr, size_t capacity);

/* True when [start, end) is wholly RAM. Binary search. */
bool e820_is_ram(const struct e820 *map, paddr_t start, paddr_t end);

/*
 * The first RAM at or above `from`: sets *start (at least from) and *end and returns true, or
 * returns false when there is none. Binary search.
 */
bool e820_next_ram(const struct e820 *map, paddr_t from, paddr_t *start, paddr_t *end);

/* End of the highest RAM range; 0 when there is none. */
paddr_t e820_ram_end(const struct e820 *map);

/* Frames by kind, for the accounting: pages of RAM, and pages of all other entries (rounded
 * outward; a partial page of RAM counts as firmware). */
uint64_t e820_ram_frames(const struct e820 *map);

#endif
