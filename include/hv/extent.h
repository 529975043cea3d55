/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents: which machine frames a domain's memory is. The truth; nested page tables are a cache.
 *
 * An extent is a naturally aligned power-of-two run (gfn and mfn both aligned to the order). A map
 * keeps them sorted by gfn in one growing array: no limit but memory.
 */
#ifndef HV_EXTENT_H
#define HV_EXTENT_H

#include "hv/compiler.h"
#include "hv/types.h"

struct extent {
    LAYOUT(gfn_t gfn; mfn_t mfn;, uint32_t flags; uint8_t order;)
};

struct extent_map {
    LAYOUT(struct extent *items; size_t nr;, size_t capacity;)
};

void extent_map_init(struct extent_map *map);
void extent_map_free(struct extent_map *map); /* the array only; frames are the caller's */

/* Makes room for `nr` extents in all, so that later adds cannot fail. 0 or -ENOMEM. */
MUST_CHECK int extent_map_reserve(struct extent_map *map, size_t nr);

/* 0; -EINVAL (order, alignment, wraps); -EEXIST (gfn range overlaps); -ENOMEM. */
MUST_CHECK int extent_map_add(struct extent_map *map, gfn_t gfn, mfn_t mfn, unsigned int order,
                              uint32_t flags);

/* Takes out the extent with the highest gfn. The map is not empty. */
struct extent extent_map_pop(struct extent_map *map);

/* The extent that holds a gfn, or NULL. Binary search. */
const struct extent *extent_map_find(const struct extent_map *map, gfn_t gfn);

/*
 * The largest leaf (ORDER_4K, 2M, 1G, at most max_order) that maps gfn to one extent's frames:
 * sets *mfn to the frame of the leaf's first gfn and returns the order, or -ENOENT.
 */
int extent_map_leaf(const struct extent_map *map, gfn_t gfn, unsigned int max_order, mfn_t *mfn);

/* Frames in all extents. */
uint64_t extent_map_frames(const struct extent_map *map);

#endif
