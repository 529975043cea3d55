/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended page tables: the tables themselves. Pure; the INVEPT comes in as a function.
 */
#ifndef VMX_EPT_H
#define VMX_EPT_H

#include "hv/compiler.h"
#include "hv/types.h"

struct ept;

/* Drops what CPUs have cached of these tables. Called after an entry that was present changed, and
 * before a table that it led to is freed. */
typedef void (*ept_invalidate_fn)(const struct ept *ept);

struct ept {
    LAYOUT(uint64_t *root; unsigned int max_order; /* of leaves */
           , ept_invalidate_fn invalidate; uint64_t tables; /* pages, the root included */)
};

/* Empty tables with leaves of at most max_order (ORDER_4K, ORDER_2M, ORDER_1G). 0 or -ENOMEM. */
MUST_CHECK int ept_init(struct ept *ept, unsigned int max_order, ept_invalidate_fn invalidate);
void ept_fini(struct ept *ept);

/*
 * Maps the naturally aligned run of 2^order frames (order 0, 9 or 18) with all rights, write-back.
 * What was mapped there is replaced; the rest of a larger leaf that held it stays mapped. An order
 * above max_order becomes a table of smaller leaves. 0; -EINVAL (order, alignment, beyond 48-bit
 * guest or 52-bit host addresses); -ENOMEM (translations are as before).
 */
MUST_CHECK int ept_map(struct ept *ept, gfn_t gfn, mfn_t mfn, unsigned int order);

/* Unmaps everything and gives all tables but the root back. */
void ept_clear(struct ept *ept);

/* The frame behind a gfn and the order of its leaf; INVALID_MFN when nothing is mapped there. */
mfn_t ept_lookup(const struct ept *ept, gfn_t gfn, unsigned int *order);

/* EPT pointer for the VMCS and INVEPT. */
uint64_t ept_pointer(const struct ept *ept);

/* Largest leaf for capabilities as in MSR_VMX_EPT_VPID_CAP. */
unsigned int ept_max_order(uint64_t capabilities);

#endif
