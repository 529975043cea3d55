/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of domains: taken from the heap, dropped and zeroed in slices, so that nobody waits long
 * for hv_lock, whatever the number of gigabytes.
 *
 * Invariant: extents at and above domain_memory_end(memory_bytes) are those of d->growth.
 * Host test: tests/host/test_domain.c, tests/host/test_domctl.c
 */
#include "hv/buddy.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define LOW_MEMORY_END GIB(3) /* above it, up to 4 GiB, no memory */
#define HIGH_MEMORY GIB(4)
#define SLICE_EXTENTS 256U
#define SLICE_FRAMES 512U

uint64_t domain_memory_end(uint64_t bytes)
{
    return bytes < LOW_MEMORY_END ? bytes : HIGH_MEMORY + (bytes - LOW_MEMORY_END);
}

/* Largest order allowed at gfn for `frames` more frames. */
static unsigned int fitting_order(uint64_t gfn, uint64_t frames)
{
    unsigned int order = MAX_ORDER;

    while (order > 0 && (!is_aligned(gfn, BIT(order)) || BIT(order) > frames)) {
        order--;
    }
    return order;
}

/* One more extent of what is being added. 0 or -ENOMEM. */
static int take_extent(struct domain *d)
{
    struct domain_growth *g = &d->growth;
    uint64_t at = d->memory_bytes + g->taken, left = g->bytes - g->taken;
    uint64_t gfn = domain_memory_end(at) >> PAGE_SHIFT;
    unsigned int order;
    mfn_t mfn;

    if (at < LOW_MEMORY_END) {
        left = MIN(left, LOW_MEMORY_END - at);
    }
    order = fitting_order(gfn, left >> PAGE_SHIFT);
    mfn = buddy_alloc(order, FRAME_GUEST, d->id);
    while (!mfn_valid(mfn) && order > 0) {
        mfn = buddy_alloc(--order, FRAME_GUEST, d->id);
    }
    if (!mfn_valid(mfn)) {
        return -ENOMEM;
    }
    if (extent_map_add(&d->extents, gfn_from(gfn), mfn, order, 0) != 0) {
        buddy_free(mfn, order);
        return -ENOMEM;
    }
    g->taken += BIT(order) << PAGE_SHIFT;
    return 0;
}

static int take_slice(struct domain *d)
{
    struct domain_growth *g = &d->growth;

    for (unsigned int n = 0; g->taken < g->bytes; n++) {
        if (n == SLICE_EXTENTS) {
            return DOMAIN_AGAIN;
        }
        if (take_extent(d) != 0) {
            g->phase = GROWTH_DROP;
            g->error = -ENOMEM;
            return DOMAIN_AGAIN;
        }
    }
    d->memory_bytes += g->bytes;
    g->phase = GROWTH_NONE;
    return 0;
}

static int drop_slice(struct domain *d)
{
    struct domain_growth *g = &d->growth;

    for (unsigned int n = 0; g->taken > 0; n++) {
        struct extent e;

        if (n == SLICE_EXTENTS) {
            return DOMAIN_AGAIN;
        }
        e = extent_map_pop(&d->extents);
        buddy_free(e.mfn, e.order);
        g->taken -= BIT(e.order) << PAGE_SHIFT;
    }
    if (d->extents.nr == 0) {
        extent_map_free(&d->extents);
    }
    g->phase = GROWTH_NONE;
    return g->error != 0 ? g->error : DOMAIN_AGAIN;
}

int domain_grow(struct domain *d, uint64_t bytes)
{
    struct domain_growth *g = &d->growth;

    if (g->phase == GROWTH_NONE) {
        *g = (struct domain_growth){.bytes = bytes, .phase = GROWTH_TAKE};
    } else if (g->bytes != bytes) {
        return -EBUSY;
    }
    domain_generation++;
    return g->phase == GROWTH_TAKE ? take_slice(d) : drop_slice(d);
}

void domain_settle(void)
{
    for_each_domain(d) {
        if (d->growth.phase != GROWTH_NONE) {
            d->growth.phase = GROWTH_DROP;
            d->growth.error = 0;
        }
    }
}

bool domain_clean(struct domain *d)
{
    uint64_t left = SLICE_FRAMES;

    while (left > 0 && d->clean_extent < d->extents.nr) {
        const struct extent *e = &d->extents.items[d->clean_extent];
        uint64_t n = MIN(left, BIT(e->order) - d->clean_frame);

        frames_zero(mfn_from(e->mfn.v + d->clean_frame), n);
        left -= n;
        d->clean_frame += n;
        if (d->clean_frame == BIT(e->order)) {
            d->clean_extent++;
            d->clean_frame = 0;
        }
    }
    return d->clean_extent == d->extents.nr;
}

void domain_soil(struct domain *d)
{
    d->clean_extent = 0;
    d->clean_frame = 0;
}

int domain_add_memory(struct domain *d, uint64_t bytes)
{
    int rc;

    do {
        rc = domain_grow(d, bytes);
    } while (rc == DOMAIN_AGAIN);
    while (rc == 0 && !domain_clean(d)) {
    }
    return rc;
}
