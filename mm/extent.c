/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents: a domain's memory as a sorted array of aligned runs.
 *
 * Host test: tests/host/test_extent.c
 * Invariant: items are sorted by gfn and their gfn ranges do not overlap.
 */
#include "hv/extent.h"

#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/slab.h"
#include "hv/string.h"

#define FIRST_CAPACITY 16U
/* Frame numbers of the architecture's 52-bit addresses. */
#define FRAME_LIMIT BIT(52 - PAGE_SHIFT)

void extent_map_init(struct extent_map *map)
{
    map->items = NULL;
    map->nr = 0;
    map->capacity = 0;
}

void extent_map_free(struct extent_map *map)
{
    kfree(map->items);
    extent_map_init(map);
}

int extent_map_reserve(struct extent_map *map, size_t nr)
{
    size_t bytes;

    if (nr <= map->capacity) {
        return 0;
    }
    if (__builtin_mul_overflow(nr, sizeof(*map->items), &bytes)) {
        return -ENOMEM;
    }
    struct extent *items = kzalloc(bytes);
    if (items == NULL) {
        return -ENOMEM;
    }
    if (map->nr > 0) {
        memcpy(items, map->items, map->nr * sizeof(*items));
    }
    kfree(map->items);
    map->items = items;
    map->capacity = nr;
    return 0;
}

/* Index of the first extent that ends above a gfn; map->nr when there is none. */
static size_t first_ending_above(const struct extent_map *map, uint64_t gfn)
{
    size_t low = 0;
    size_t high = map->nr;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (map->items[mid].gfn.v + BIT(map->items[mid].order) > gfn) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return low;
}

int extent_map_add(struct extent_map *map, gfn_t gfn, mfn_t mfn, unsigned int order, uint32_t flags)
{
    if (order > MAX_ORDER || !is_aligned(gfn.v | mfn.v, BIT(order)) || gfn.v >= FRAME_LIMIT ||
        mfn.v >= FRAME_LIMIT) {
        return -EINVAL;
    }
    const struct extent *last = map->nr > 0 ? &map->items[map->nr - 1] : NULL;
    bool behind = last == NULL || last->gfn.v + BIT(last->order) <= gfn.v;
    size_t at = behind ? map->nr : first_ending_above(map, gfn.v);
    if (at < map->nr && map->items[at].gfn.v < gfn.v + BIT(order)) {
        return -EEXIST;
    }
    if (map->nr == map->capacity) {
        int rc = extent_map_reserve(map, map->capacity > 0 ? 2 * map->capacity : FIRST_CAPACITY);

        if (rc != 0) {
            return rc;
        }
    }
    if (!behind) {
        memmove(&map->items[at + 1], &map->items[at], (map->nr - at) * sizeof(*map->items));
    }
    map->items[at].gfn = gfn;
    map->items[at].mfn = mfn;
    map->items[at].order = (uint8_t)order;
    map->items[at].flags = flags;
    map->nr++;
    return 0;
}

struct extent extent_map_pop(struct extent_map *map)
{
    BUG_ON(map->nr == 0);
    return map->items[--map->nr];
}

const struct extent *extent_map_find(const struct extent_map *map, gfn_t gfn)
{
    size_t at = first_ending_above(map, gfn.v);

    return at < map->nr && map->items[at].gfn.v <= gfn.v ? &map->items[at] : NULL;
}

int extent_map_leaf(const struct extent_map *map, gfn_t gfn, unsigned int max_order, mfn_t *mfn)
{
    const struct extent *e = extent_map_find(map, gfn);
    unsigned int order = ORDER_4K;

    if (e == NULL) {
        return -ENOENT;
    }
    if (MIN(e->order, max_order) >= ORDER_1G) {
        order = ORDER_1G;
    } else if (MIN(e->order, max_order) >= ORDER_2M) {
        order = ORDER_2M;
    }
    /* Both sides of the extent are aligned to its order, so any smaller leaf is inside it. */
    *mfn = mfn_from(e->mfn.v + (align_down(gfn.v, BIT(order)) - e->gfn.v));
    return (int)order;
}

uint64_t extent_map_frames(const struct extent_map *map)
{
    uint64_t frames = 0;

    for (size_t i = 0; i < map->nr; i++) {
        frames += BIT(map->items[i].order);
    }
    return frames;
}
