/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fresh memory of domains: runs that shrink and split as they are touched.
 *
 * Host test: tests/host/test_fresh.c
 * Invariant: runs are sorted, not empty, aligned to units, and do not touch each other; no leaf is
 * empty.
 */
#include "hv/fresh.h"

#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"

#define FIRST_CAPACITY 8U
#define UNIT BIT(FRESH_UNIT_ORDER)
#define SLICE_LEAVES 256U

bool fresh_free_slice(struct fresh *f)
{
    for (unsigned int n = 0; f->nr_leaves != 0; n++) {
        if (n == SLICE_LEAVES) {
            return false;
        }
        f->nr_leaves--;
        f->nr -= f->leaves[f->nr_leaves]->nr;
        kfree(f->leaves[f->nr_leaves]);
    }
    kfree(f->leaves);
    *f = (struct fresh){.leaves = NULL};
    return true;
}

void fresh_free(struct fresh *f)
{
    while (!fresh_free_slice(f)) {
    }
}

/* Room for one more leaf in the list of them. */
static int make_room(struct fresh *f)
{
    size_t capacity = f->capacity != 0 ? 2 * f->capacity : FIRST_CAPACITY;
    struct fresh_leaf **leaves;

    if (f->nr_leaves < f->capacity) {
        return 0;
    }
    leaves = kzalloc(capacity * sizeof(*leaves));
    if (leaves == NULL) {
        return -ENOMEM;
    }
    if (f->nr_leaves != 0) {
        memcpy(leaves, f->leaves, f->nr_leaves * sizeof(*leaves));
    }
    kfree(f->leaves);
    f->leaves = leaves;
    f->capacity = capacity;
    return 0;
}

/* An empty leaf as leaf `at`, which its caller fills. NULL: out of memory. */
static struct fresh_leaf *add_leaf(struct fresh *f, size_t at)
{
    struct fresh_leaf *leaf = make_room(f) == 0 ? kzalloc(sizeof(*leaf)) : NULL;

    if (leaf != NULL) {
        memmove(&f->leaves[at + 1], &f->leaves[at], (f->nr_leaves - at) * sizeof(*f->leaves));
        f->leaves[at] = leaf;
        f->nr_leaves++;
    }
    return leaf;
}

static void remove_leaf(struct fresh *f, size_t at)
{
    kfree(f->leaves[at]);
    f->nr_leaves--;
    memmove(&f->leaves[at], &f->leaves[at + 1], (f->nr_leaves - at) * sizeof(*f->leaves));
}

int fresh_add(struct fresh *f, uint64_t start, uint64_t end)
{
    struct fresh_leaf *leaf = f->nr_leaves != 0 ? f->leaves[f->nr_leaves - 1] : NULL;

    if (leaf != NULL && leaf->runs[leaf->nr - 1].end == start) {
        leaf->runs[leaf->nr - 1].end = end;
        return 0;
    }
    if (leaf == NULL || leaf->nr == FRESH_LEAF_RUNS) {
        leaf = add_leaf(f, f->nr_leaves);
        if (leaf == NULL) {
            return -ENOMEM;
        }
    }
    leaf->runs[leaf->nr++] = (struct fresh_run){start, end};
    f->nr++;
    return 0;
}

/* Where a run is. */
struct place {
    size_t leaf, run;
};

/* The first run that ends above a frame; leaf f->nr_leaves when there is none. */
static struct place first_ending_above(const struct fresh *f, uint64_t gfn)
{
    size_t low = 0, high = f->nr_leaves;
    struct place p;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct fresh_leaf *leaf = f->leaves[mid];

        if (leaf->runs[leaf->nr - 1].end > gfn) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    p.leaf = low;
    high = low < f->nr_leaves ? f->leaves[low]->nr : 0;
    low = 0;
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (f->leaves[p.leaf]->runs[mid].end > gfn) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    p.run = low;
    return p;
}

/* The run at a place, or NULL when there is none that begins below a frame. */
static struct fresh_run *run_below(const struct fresh *f, struct place p, uint64_t gfn)
{
    struct fresh_run *r = p.leaf < f->nr_leaves ? &f->leaves[p.leaf]->runs[p.run] : NULL;

    return r != NULL && r->start < gfn ? r : NULL;
}

bool fresh_any(const struct fresh *f, uint64_t start, uint64_t end)
{
    return run_below(f, first_ending_above(f, start), end) != NULL;
}

/* Half of a full leaf to a leaf of its own, *p staying with its run. */
static int divide(struct fresh *f, struct place *p)
{
    struct fresh_leaf *leaf = f->leaves[p->leaf];
    struct fresh_leaf *upper = add_leaf(f, p->leaf + 1);
    size_t half = FRESH_LEAF_RUNS / 2;

    if (upper == NULL) {
        return -ENOMEM;
    }
    upper->nr = leaf->nr - half;
    memcpy(upper->runs, &leaf->runs[half], upper->nr * sizeof(upper->runs[0]));
    leaf->nr = half;
    if (p->run >= half) {
        p->leaf++;
        p->run -= half;
    }
    return 0;
}

/* Takes [start, end) out of the middle of a run. */
static int cut_middle(struct fresh *f, struct place p, uint64_t start, uint64_t end)
{
    struct fresh_leaf *leaf;
    struct fresh_run *r;

    if (f->leaves[p.leaf]->nr == FRESH_LEAF_RUNS && divide(f, &p) != 0) {
        return -ENOMEM;
    }
    leaf = f->leaves[p.leaf];
    r = &leaf->runs[p.run];
    memmove(r + 1, r, (leaf->nr - p.run) * sizeof(*r));
    leaf->nr++;
    f->nr++;
    r[0].end = start;
    r[1].start = end;
    return 0;
}

static void remove_run(struct fresh *f, struct place p)
{
    struct fresh_leaf *leaf = f->leaves[p.leaf];
    struct fresh_run *r = &leaf->runs[p.run];

    f->nr--;
    leaf->nr--;
    memmove(r, r + 1, (leaf->nr - p.run) * sizeof(*r));
    if (leaf->nr == 0) {
        remove_leaf(f, p.leaf);
    }
}

/* Takes [start, end) out of the run at a place, which holds it. */
static int cut(struct fresh *f, struct place p, uint64_t start, uint64_t end)
{
    struct fresh_run *r = &f->leaves[p.leaf]->runs[p.run];

    if (r->start < start && end < r->end) {
        return cut_middle(f, p, start, end);
    }
    if (r->start < start) {
        r->end = start;
    } else if (end < r->end) {
        r->start = end;
    } else {
        remove_run(f, p);
    }
    return 0;
}

static void zero(const struct domain *d, uint64_t gfn, uint64_t end)
{
    while (gfn < end) {
        const struct extent *e = extent_map_find(&d->extents, gfn_from(gfn));
        uint64_t n = 1;

        if (e != NULL) { /* else: a run that the stream made up */
            uint64_t offset = gfn - e->gfn.v;

            n = MIN(end - gfn, BIT(e->order) - offset);
            frames_zero(mfn_from(e->mfn.v + offset), n);
        }
        gfn += n;
    }
}

int fresh_touch(struct domain *d, uint64_t start, uint64_t end)
{
    struct fresh *f = &d->fresh;

    if (f->nr == 0) {
        return 0;
    }
    start = align_down(start, UNIT);
    end = align_up(end, UNIT);
    for (;;) {
        struct place p = first_ending_above(f, start);
        const struct fresh_run *r = run_below(f, p, end);

        if (r == NULL) {
            return 0;
        }
        uint64_t from = MAX(start, r->start), to = MIN(end, r->end);

        if (cut(f, p, from, to) != 0) {
            return -ENOMEM;
        }
        zero(d, from, to);
        start = to;
    }
}
