/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables (EPT, NPT): the tables themselves. Pure; what invalidates comes in as a
 * function.
 */
#ifndef HV_NESTED_H
#define HV_NESTED_H

#include "hv/compiler.h"
#include "hv/hvm.h"
#include "hv/types.h"

struct nested;

/* Drops what CPUs have cached of these tables. Called after an entry that was present changed, and
 * before a table that it led to is freed. */
typedef void (*nested_invalidate_fn)(const struct nested *n);

struct nested {
    LAYOUT(uint64_t *root; unsigned int max_order; uint64_t leaf_bits; /* of leaves */
           , nested_invalidate_fn invalidate; uint64_t tables; /* pages, the root included */)
};

/* Empty tables with leaves of at most max_order (ORDER_4K, ORDER_2M, ORDER_1G), each with the bits
 * of leaf_bits set (memory type). 0 or -ENOMEM. */
MUST_CHECK int nested_init(struct nested *n, unsigned int max_order, uint64_t leaf_bits,
                           nested_invalidate_fn invalidate);
void nested_fini(struct nested *n);

/*
 * Maps the naturally aligned run of 2^order frames (order 0, 9 or 18) with all rights, write-back.
 * What was mapped there is replaced; the rest of a larger leaf that held it stays mapped. An order
 * above max_order becomes a table of smaller leaves. 0; -EINVAL (order, alignment, beyond 48-bit
 * guest or 52-bit host addresses); -ENOMEM (translations are as before).
 */
MUST_CHECK int nested_map(struct nested *n, gfn_t gfn, mfn_t mfn, unsigned int order);

/* Unmaps everything and gives all tables but the root back. */
void nested_clear(struct nested *n);

/* The frame behind a gfn and the order of its leaf; INVALID_MFN when nothing is mapped there. */
mfn_t nested_lookup(const struct nested *n, gfn_t gfn, unsigned int *order);

/* Shows all tables and leaves (hv/hvm.h). Trusts no entry: a table that walk->table() does not want
 * is passed over. Returns how many pages there should be. */
uint64_t nested_walk(const struct nested *n, const struct hvm_walk *walk);

/* Physical address of the top-level table. */
paddr_t nested_root_pa(const struct nested *n);

#endif
