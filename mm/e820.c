/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory map: normalization and look-ups.
 *
 * Host test: tests/host/test_e820.c
 */
#include "hv/e820.h"

#include "hv/errno.h"

/* The architecture's largest physical address width; RAM beyond it is a firmware mistake. */
#define PA_LIMIT BIT(52)

static void swap_ranges(struct e820_range *a, struct e820_range *b)
{
    struct e820_range t = *a;

    *a = *b;
    *b = t;
}

/* Heap sort by start: no memory needed, and no order of the input makes it slow. */
static void sift_down(struct e820_range *r, size_t root, size_t nr)
{
    for (;;) {
        size_t child = 2 * root + 1;

        if (child >= nr) {
            return;
        }
        if (child + 1 < nr && r[child].start < r[child + 1].start) {
            child++;
        }
        if (r[root].start >= r[child].start) {
            return;
        }
        swap_ranges(&r[root], &r[child]);
        root = child;
    }
}

static void sort_ranges(struct e820_range *r, size_t nr)
{
    for (size_t i = nr / 2; i > 0; i--) {
        sift_down(r, i - 1, nr);
    }
    for (size_t i = nr; i > 1; i--) {
        swap_ranges(&r[0], &r[i - 1]);
        sift_down(r, 0, i - 1);
    }
}

/* Which of two types holds where both claim: anything beats RAM, then the higher number. */
static bool type_beats(uint32_t a, uint32_t b)
{
    if (a == E820_RAM || b == E820_RAM) {
        return a != E820_RAM;
    }
    return a > b;
}

/* Appends [start, end) to the output, which is sorted; grows the last entry where that will do. */
static void emit(struct e820_range *out, size_t *nr, paddr_t start, paddr_t end, uint32_t type)
{
    if (*nr > 0 && out[*nr - 1].end == start && out[*nr - 1].type == type) {
        out[*nr - 1].end = end;
        return;
    }
    out[*nr] = (struct e820_range){.start = start, .end = end, .type = type};
    (*nr)++;
}

/*
 * Sweeps over the sorted ranges r[in..end), writing disjoint ones from r[0] on; returns how many.
 *
 * The ranges that cover the current position, the active ones, are kept right below `in`: taking
 * the next range in is in++, and a range that ended is overwritten by the lowest active one. With k
 * ranges taken in and e of them ended there are at most k + e outputs and k - e active ranges, so
 * the outputs never reach the active ones when r[0..in) holds as many entries as there are ranges.
 */
static size_t sweep(struct e820_range *r, size_t in, size_t end)
{
    size_t active = 0;
    size_t nr = 0;
    paddr_t pos = 0;

    while (active > 0 || in < end) {
        if (active == 0) {
            pos = r[in].start;
        }
        while (in < end && r[in].start <= pos) {
            in++;
            active++;
        }
        paddr_t next = in < end ? r[in].start : ~UINT64_C(0);
        uint32_t type = r[in - 1].type;
        for (size_t i = in - active; i < in; i++) {
            next = MIN(next, r[i].end);
            if (type_beats(r[i].type, type)) {
                type = r[i].type;
            }
        }
        emit(r, &nr, pos, next, type);
        pos = next;
        for (size_t i = in - active; i < in; i++) {
            if (r[i].end <= pos) {
                r[i] = r[in - active];
                active--;
            }
        }
    }
    return nr;
}

int e820_normalise(struct e820_range *raw, size_t *nr, size_t capacity)
{
    size_t valid = 0;

    if (*nr > (SIZE_MAX - 1) / 2 || capacity < 2 * *nr + 1) {
        return -EINVAL;
    }
    for (size_t i = 0; i < *nr; i++) {
        if (raw[i].start < raw[i].end) {
            raw[valid++] = raw[i];
        }
    }
    sort_ranges(raw, valid);
    for (size_t i = valid; i > 0; i--) {
        raw[capacity - valid + i - 1] = raw[i - 1];
    }
    size_t swept = sweep(raw, capacity - valid, capacity);

    /* Only now, with neighbours merged, is it known which pages of RAM are whole. */
    size_t kept = 0;
    for (size_t i = 0; i < swept; i++) {
        struct e820_range r = raw[i];

        if (r.type == E820_RAM) {
            r.end = align_down(MIN(r.end, PA_LIMIT), PAGE_SIZE);
            r.start = align_up(MIN(r.start, PA_LIMIT), PAGE_SIZE);
        }
        if (r.start < r.end) {
            raw[kept++] = r;
        }
    }
    *nr = kept;
    return 0;
}

/* Index of the first range that ends above pa; map->nr when there is none. */
static size_t first_ending_above(const struct e820 *map, paddr_t pa)
{
    size_t low = 0;
    size_t high = map->nr;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (map->ranges[mid].end > pa) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return low;
}

bool e820_is_ram(const struct e820 *map, paddr_t start, paddr_t end)
{
    size_t i = first_ending_above(map, start);

    if (i == map->nr || start >= end) {
        return false;
    }
    /* Neighbours are merged, so RAM that is of one piece is one range. */
    const struct e820_range *r = &map->ranges[i];
    return r->type == E820_RAM && r->start <= start && end <= r->end;
}

bool e820_next_ram(const struct e820 *map, paddr_t from, paddr_t *start, paddr_t *end)
{
    for (size_t i = first_ending_above(map, from); i < map->nr; i++) {
        if (map->ranges[i].type == E820_RAM) {
            *start = MAX(map->ranges[i].start, from);
            *end = map->ranges[i].end;
            return true;
        }
    }
    return false;
}

paddr_t e820_ram_end(const struct e820 *map)
{
    for (size_t i = map->nr; i > 0; i--) {
        if (map->ranges[i - 1].type == E820_RAM) {
            return map->ranges[i - 1].end;
        }
    }
    return 0;
}

uint64_t e820_ram_frames(const struct e820 *map)
{
    uint64_t frames = 0;

    for (size_t i = 0; i < map->nr; i++) {
        if (map->ranges[i].type == E820_RAM) {
            frames += (map->ranges[i].end - map->ranges[i].start) >> PAGE_SHIFT;
        }
    }
    return frames;
}
