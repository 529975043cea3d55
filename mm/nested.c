/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables: four levels, leaves of 4 KiB, 2 MiB and 1 GiB, write-back, all rights.
 *
 * Level 0 holds 4 KiB leaves, level 3 is the root; a leaf at level n has order 9 * n. Both vendors'
 * tables have this form: the bits that are rights in EPT (read, write, execute) are present,
 * writable and user in the long-mode tables that SVM walks. Only what a leaf says of caching
 * differs. SDM volume 3, "Extended Page-Table Mechanism (EPT)"; APM volume 2, "Nested Paging".
 *
 * Host test: tests/host/test_nested.c
 * Invariant: every store into a live table is one whole entry, and a table is complete before an
 * entry leads to it: a CPU that walks meanwhile sees the old translation or the new one, never a
 * third. A table is freed only after invalidate() has run with no entry leading to it.
 */
#include "hv/nested.h"

#include "hv/boot_alloc.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hw/vmx.h"

#define ENTRIES 512U
#define LEVEL_BITS 9U
#define ROOT_LEVEL 3U
#define GFN_BITS (LEVEL_BITS * (ROOT_LEVEL + 1))
#define MFN_BITS (52U - PAGE_SHIFT)
#define RIGHTS (EPT_R | EPT_W | EPT_X)

static unsigned int level_order(unsigned int level)
{
    return LEVEL_BITS * level;
}

static unsigned int entry_index(gfn_t gfn, unsigned int level)
{
    return (unsigned int)(gfn.v >> level_order(level)) & (ENTRIES - 1);
}

static bool is_present(uint64_t entry)
{
    return (entry & RIGHTS) != 0;
}

static bool is_leaf(uint64_t entry, unsigned int level)
{
    return level == 0 || (entry & EPT_LEAF) != 0;
}

static uint64_t leaf_entry(const struct nested *n, mfn_t mfn, unsigned int level)
{
    return mfn_to_pa(mfn) | RIGHTS | n->leaf_bits | (level > 0 ? EPT_LEAF : 0);
}

static uint64_t table_entry(const uint64_t *table)
{
    return mfn_to_pa(va_to_mfn(table)) | RIGHTS;
}

static mfn_t entry_mfn(uint64_t entry)
{
    return pa_to_mfn(entry & EPT_ADDR);
}

static uint64_t *entry_table(uint64_t entry)
{
    return mfn_to_va(entry_mfn(entry));
}

/* Release: what the new entry leads to is in memory before the entry is (pairs with the walk of a
 * CPU that runs the guest). */
static void store_entry(uint64_t *at, uint64_t entry)
{
    __atomic_store_n(at, entry, __ATOMIC_RELEASE);
}

static uint64_t *table_alloc(struct nested *n)
{
    uint64_t *table = pool_alloc();

    if (table != NULL) {
        n->tables++;
    }
    return table;
}

static void table_free(struct nested *n, uint64_t *table, unsigned int level);

/* Frees the tables under an entry of `level` that no CPU can reach any more. */
static void free_below(struct nested *n, uint64_t entry, unsigned int level)
{
    if (level > 0 && entry != 0 && !is_leaf(entry, level)) {
        table_free(n, entry_table(entry), level - 1);
    }
}

static void table_free(struct nested *n, uint64_t *table, unsigned int level)
{
    for (unsigned int i = 0; level > 0 && i < ENTRIES; i++) {
        free_below(n, table[i], level);
    }
    pool_free(table);
    n->tables--;
}

static void replace_entry(struct nested *n, uint64_t *at, uint64_t entry, unsigned int level)
{
    uint64_t old = *at;

    if (old == entry) {
        return;
    }
    store_entry(at, entry);
    if (is_present(old)) {
        n->invalidate(n);
        free_below(n, old, level);
    }
}

/* An entry of `level` that maps the run from mfn on, in leaves of at most max_order. 0: no memory
 * (an entry is never 0, it has rights). */
static uint64_t build_entry(struct nested *n, mfn_t mfn, unsigned int level, unsigned int max_order)
{
    if (level_order(level) <= max_order) {
        return leaf_entry(n, mfn, level);
    }
    uint64_t *table = table_alloc(n);
    if (table == NULL) {
        return 0;
    }
    for (unsigned int i = 0; i < ENTRIES; i++) {
        mfn_t part = mfn_from(mfn.v + ((uint64_t)i << level_order(level - 1)));

        table[i] = build_entry(n, part, level - 1, max_order);
        if (table[i] == 0) {
            table_free(n, table, level - 1);
            return 0;
        }
    }
    return table_entry(table);
}

/* Makes sure that the entry of `level` leads to a table: a new empty one, or the leaf in halves of
 * 512. 0 or -ENOMEM. */
static int need_table(struct nested *n, uint64_t *at, unsigned int level)
{
    uint64_t entry;

    if (!is_present(*at)) {
        uint64_t *table = table_alloc(n);

        entry = table != NULL ? table_entry(table) : 0;
    } else if (is_leaf(*at, level)) {
        entry = build_entry(n, entry_mfn(*at), level, level_order(level - 1));
    } else {
        return 0;
    }
    if (entry == 0) {
        return -ENOMEM;
    }
    replace_entry(n, at, entry, level);
    return 0;
}

int nested_init(struct nested *n, unsigned int max_order, uint64_t leaf_bits,
                nested_invalidate_fn invalidate)
{
    n->tables = 0;
    n->leaf_bits = leaf_bits;
    n->max_order = max_order;
    n->invalidate = invalidate;
    n->root = table_alloc(n);
    return n->root != NULL ? 0 : -ENOMEM;
}

void nested_fini(struct nested *n)
{
    nested_clear(n);
    table_free(n, n->root, 0); /* it is empty: nothing below to look at */
    n->root = NULL;
}

int nested_map(struct nested *n, gfn_t gfn, mfn_t mfn, unsigned int order)
{
    unsigned int level = order / LEVEL_BITS;
    uint64_t *table = n->root;

    if (order > ORDER_1G || order != level_order(level) || !is_aligned(gfn.v | mfn.v, BIT(order)) ||
        gfn.v >= BIT(GFN_BITS) || mfn.v >= BIT(MFN_BITS)) {
        return -EINVAL;
    }
    for (unsigned int above = ROOT_LEVEL; above > level; above--) {
        uint64_t *at = &table[entry_index(gfn, above)];
        int rc = need_table(n, at, above);

        if (rc != 0) {
            return rc;
        }
        table = entry_table(*at);
    }
    uint64_t entry = build_entry(n, mfn, level, n->max_order);
    if (entry == 0) {
        return -ENOMEM;
    }
    replace_entry(n, &table[entry_index(gfn, level)], entry, level);
    return 0;
}

void nested_clear(struct nested *n)
{
    bool changed = false;

    /* Without rights an entry is not present; its address still says what to free afterwards. */
    for (unsigned int i = 0; i < ENTRIES; i++) {
        if (is_present(n->root[i])) {
            store_entry(&n->root[i], n->root[i] & EPT_ADDR);
            changed = true;
        }
    }
    if (!changed) {
        return;
    }
    n->invalidate(n);
    for (unsigned int i = 0; i < ENTRIES; i++) {
        free_below(n, n->root[i], ROOT_LEVEL);
        store_entry(&n->root[i], 0);
    }
}

mfn_t nested_lookup(const struct nested *n, gfn_t gfn, unsigned int *order)
{
    const uint64_t *table = n->root;

    for (unsigned int level = ROOT_LEVEL; gfn.v < BIT(GFN_BITS); level--) {
        uint64_t entry = __atomic_load_n(&table[entry_index(gfn, level)], __ATOMIC_ACQUIRE);

        if (!is_present(entry)) {
            break;
        }
        if (is_leaf(entry, level)) {
            *order = level_order(level);
            return mfn_from(entry_mfn(entry).v + (gfn.v & (BIT(*order) - 1)));
        }
        table = entry_table(entry);
    }
    return INVALID_MFN;
}

static void walk_table(const uint64_t *table, unsigned int level, gfn_t gfn,
                       const struct hvm_walk *walk)
{
    for (unsigned int i = 0; i < ENTRIES; i++) {
        uint64_t entry = table[i];
        gfn_t at = gfn_from(gfn.v + ((uint64_t)i << level_order(level)));

        if (!is_present(entry)) {
            continue;
        }
        if (is_leaf(entry, level)) {
            walk->leaf(walk->ctx, at, entry_mfn(entry), level_order(level));
        } else if (walk->table(walk->ctx, entry_mfn(entry))) {
            walk_table(entry_table(entry), level - 1, at, walk);
        }
    }
}

uint64_t nested_walk(const struct nested *n, const struct hvm_walk *walk)
{
    if (walk->table(walk->ctx, va_to_mfn(n->root))) {
        walk_table(n->root, ROOT_LEVEL, gfn_from(0), walk);
    }
    return n->tables;
}

paddr_t nested_root_pa(const struct nested *n)
{
    return mfn_to_pa(va_to_mfn(n->root));
}
