/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of domains: taken from the heap, dropped and zeroed in slices, so that nobody waits long
 * for hv_lock, whatever the number of gigabytes.
 *
 * Invariant: extents at and above domain_memory_end(memory_bytes) are those of d->growth.
 * Host test: tests/host/test_domain.c, tests/host/test_domctl.c
 */
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"

#define LOW_MEMORY_END GIB(3) /* above it, up to 4 GiB, no memory */
#define HIGH_MEMORY GIB(4)
#define SLICE_EXTENTS 256U
#define SLICE_FRAMES 512U
#define FRESH_COST 2U /* of SLICE_FRAMES: an extent that is only noted */
/* Memory below is zeroed at once, what comes after that when it is touched: most guests never have
 * to wait for that, and every image can take them over. */
#define ZEROED_AHEAD MIB(256)

uint64_t domain_memory_end(uint64_t bytes)
{
    return bytes < LOW_MEMORY_END ? bytes : HIGH_MEMORY + (bytes - LOW_MEMORY_END);
}

/* Of the extents of memory that is added. */
static unsigned int largest_order = MAX_ORDER;

void domain_memory_init(const char *cmdline)
{
    struct str_span v;
    uint64_t order;

    largest_order = MAX_ORDER;
    if (!cmdline_get(cmdline, "extent_order", &v)) {
        return;
    }
    if (parse_size(v, &order) != 0 || order > MAX_ORDER) {
        printk("command line: extent_order= is not 0 to %u: ignored", MAX_ORDER);
        return;
    }
    largest_order = (unsigned int)order;
}

/* Largest order allowed at gfn for `frames` more frames. */
static unsigned int fitting_order(uint64_t gfn, uint64_t frames)
{
    unsigned int order = largest_order;

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

/* How much of the extent that domain_clean() is at is left to be zeroed when it is touched: all
 * from d->clean_frame on, or nothing yet. */
static uint64_t leave_fresh(struct domain *d, const struct extent *e)
{
    uint64_t gfn = e->gfn.v + d->clean_frame;
    bool late = gfn >= ZEROED_AHEAD >> PAGE_SHIFT && e->order >= FRESH_UNIT_ORDER &&
                is_aligned(gfn, BIT(FRESH_UNIT_ORDER));

    /* Out of memory for that: it is zeroed now. */
    return late && fresh_add(&d->fresh, gfn, e->gfn.v + BIT(e->order)) == 0
               ? BIT(e->order) - d->clean_frame
               : 0;
}

bool domain_clean(struct domain *d)
{
    uint64_t left = SLICE_FRAMES;

    if (d->clean_extent == 0 && d->clean_frame == 0) {
        fresh_free(&d->fresh);
    }
    while (left > 0 && d->clean_extent < d->extents.nr) {
        const struct extent *e = &d->extents.items[d->clean_extent];
        uint64_t n = leave_fresh(d, e);

        if (n != 0) {
            left -= MIN(left, FRESH_COST);
        } else {
            n = MIN(left, BIT(e->order) - d->clean_frame);
            frames_zero(mfn_from(e->mfn.v + d->clean_frame), n);
            left -= n;
        }
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
