/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fresh memory: given to a domain, touched by nobody yet, zeroed when somebody comes.
 *
 * So a guest of a terabyte starts as soon as a small one. Kept as sorted runs of guest frames, in
 * units of 2 MiB: what a run holds is in no nested table, and its contents mean nothing. Runs are
 * in leaves, and leaves in a list, so that a touch moves few of them, however many there are.
 *
 * Lock: hv_lock.
 */
#ifndef HV_FRESH_H
#define HV_FRESH_H

#include "hv/compiler.h"
#include "hv/types.h"

struct domain;

/* Guest frames [start, end), both aligned to a unit. */
struct fresh_run {
    uint64_t start;
    uint64_t end;
};

#define FRESH_LEAF_RUNS 59U /* what an object of the slab allocator has room for */

struct fresh_leaf {
    size_t nr; /* not 0 */
    struct fresh_run runs[FRESH_LEAF_RUNS];
};

struct fresh {
    LAYOUT(struct fresh_leaf **leaves; size_t nr_leaves;, size_t capacity; /* of the list */
           size_t nr;) /* of runs */
};

#define FRESH_UNIT_ORDER ORDER_2M

/* None is fresh any more. Slice: some are not; true when none is. */
void fresh_free(struct fresh *f);
bool fresh_free_slice(struct fresh *f);

/* Adds a run behind all others; both ends aligned to a unit. 0 or -ENOMEM. */
MUST_CHECK int fresh_add(struct fresh *f, uint64_t start, uint64_t end);

/* Some frame of [start, end) is fresh. */
bool fresh_any(const struct fresh *f, uint64_t start, uint64_t end);

/*
 * Before anyone looks at, writes to or maps guest frames [start, end) of the domain: zeroes the
 * units of them that are fresh. 0; -ENOMEM: some are still fresh.
 */
MUST_CHECK int fresh_touch(struct domain *d, uint64_t start, uint64_t end);

#endif
