/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmap: address space for mappings of scattered frames.
 *
 * Areas tile vmap space: each is in use or free, and no two free ones are neighbours. They are
 * nodes of a treap (search tree by address, heap by a random weight, so of logarithmic depth), and
 * each node knows the largest free area below it: reserving is first fit in O(log n). What frames
 * are mapped is in the page tables alone.
 *
 * Owns: areas.  Lock: vmap_lock, the outermost of mm/; vmap_pt_map() and vmap_pt_unmap() are called
 * under it.  Host test: tests/host/test_vmap.c
 */
#include "hv/vmap.h"

#include "hv/boot_alloc.h"
#include "hv/fault.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/spinlock.h"

struct area {
    LAYOUT(struct area *left; struct area *right; /* by address */
           struct area *next; struct area *prev;  /* neighbours in address order */
    , size_t start; /* in pages from vmap_base() */
      size_t pages; /* with the guard */
      size_t largest_free;)
    size_t mapped;       /* pages mapped now, all of them ... */
    size_t mapped_start; /* ... in [mapped_start, mapped_end) */
    size_t mapped_end;
    uint32_t weight;
    bool used;
};

/* The lowest area. Merging keeps the lower node, so this one is always in the tree, and vmap space
 * that is all free again needs no memory. */
static struct area first_area;
static struct area *root;
static struct spinlock vmap_lock;

uint64_t vmap_flushes;

static uintptr_t page_va(const struct area *area, size_t index)
{
    return vmap_base() + (area->start + index) * PAGE_SIZE;
}

static size_t free_pages(const struct area *area)
{
    return area->used ? 0 : area->pages;
}

static size_t largest_below(const struct area *area)
{
    return area != NULL ? area->largest_free : 0;
}

static void update(struct area *area)
{
    size_t below = MAX(largest_below(area->left), largest_below(area->right));

    area->largest_free = MAX(free_pages(area), below);
}

/* Splits a tree into the areas below `start` and the others. */
static void tree_split(struct area *tree, size_t start, struct area **low, struct area **high)
{
    if (tree == NULL) {
        *low = NULL;
        *high = NULL;
        return;
    }
    if (tree->start < start) {
        tree_split(tree->right, start, &tree->right, high);
        *low = tree;
    } else {
        tree_split(tree->left, start, low, &tree->left);
        *high = tree;
    }
    update(tree);
}

/* Joins two trees, all areas of `low` being below those of `high`. */
static struct area *tree_join(struct area *low, struct area *high)
{
    if (low == NULL) {
        return high;
    }
    if (high == NULL) {
        return low;
    }
    if (low->weight > high->weight) {
        low->right = tree_join(low->right, high);
        update(low);
        return low;
    }
    high->left = tree_join(low, high->left);
    update(high);
    return high;
}

/* Takes the node out of the tree, or with out == false only updates its ancestors. */
static struct area *tree_touch(struct area *tree, struct area *area, bool out)
{
    BUG_ON(tree == NULL);
    if (tree == area) {
        if (out) {
            return tree_join(area->left, area->right);
        }
    } else if (area->start < tree->start) {
        tree->left = tree_touch(tree->left, area, out);
    } else {
        tree->right = tree_touch(tree->right, area, out);
    }
    update(tree);
    return tree;
}

static void tree_add(struct area *area)
{
    struct area *low;
    struct area *high;

    area->left = NULL;
    area->right = NULL;
    update(area);
    tree_split(root, area->start, &low, &high);
    root = tree_join(tree_join(low, area), high);
}

/* The lowest free area of at least `pages`. */
static struct area *first_fit(size_t pages)
{
    struct area *area = root;

    if (largest_below(area) < pages) {
        return NULL;
    }
    for (;;) {
        if (largest_below(area->left) >= pages) {
            area = area->left;
        } else if (free_pages(area) >= pages) {
            return area;
        } else {
            area = area->right;
        }
    }
}

/* The area in use that starts at an address; anything else is the caller's bug. */
static struct area *area_at(const void *va)
{
    size_t start = ((uintptr_t)va - vmap_base()) / PAGE_SIZE;
    struct area *area = root;

    BUG_ON((uintptr_t)va < vmap_base() || !is_aligned((uintptr_t)va, PAGE_SIZE));
    while (area != NULL && area->start != start) {
        area = start < area->start ? area->left : area->right;
    }
    BUG_ON(area == NULL || !area->used);
    return area;
}

int vmap_init(void)
{
    spin_lock_init(&vmap_lock);
    root = NULL;
    first_area = (struct area){.pages = vmap_pages()};
    tree_add(&first_area);
    return 0;
}

void *vmap_reserve(size_t pages)
{
    struct area *rest = FAULT_FAILS() ? NULL : kzalloc(sizeof(*rest));

    if (rest == NULL || pages == 0 || pages == SIZE_MAX) {
        kfree(rest);
        return NULL;
    }
    spin_lock(&vmap_lock);
    struct area *area = first_fit(pages + 1);
    if (area == NULL) {
        spin_unlock(&vmap_lock);
        kfree(rest);
        return NULL;
    }
    area->used = true;
    if (area->pages == pages + 1) {
        root = tree_touch(root, area, false);
    } else {
        rest->start = area->start + pages + 1;
        rest->pages = area->pages - (pages + 1);
        rest->weight = (uint32_t)random_u64();
        rest->prev = area;
        rest->next = area->next;
        if (rest->next != NULL) {
            rest->next->prev = rest;
        }
        area->pages = pages + 1;
        area->next = rest;
        /* The way to the new node's place goes by its neighbour: that is updated with it. */
        tree_add(rest);
        rest = NULL;
    }
    void *va = (void *)page_va(area, 0);
    spin_unlock(&vmap_lock);
    kfree(rest);
    return va;
}

/* Merges a free area into the free neighbour before it; returns the node that is left over. */
static struct area *merge_into_prev(struct area *area)
{
    struct area *prev = area->prev;

    root = tree_touch(root, area, true);
    prev->pages += area->pages;
    prev->next = area->next;
    if (prev->next != NULL) {
        prev->next->prev = prev;
    }
    root = tree_touch(root, prev, false);
    return area;
}

/* Frees the addresses of an area, of which nothing is mapped any more. Puts up to two nodes that
 * are left over into spare[]. */
static void release_locked(struct area *area, struct area *spare[2])
{
    area->used = false;
    root = tree_touch(root, area, false);
    if (area->next != NULL && !area->next->used) {
        spare[0] = merge_into_prev(area->next);
    }
    if (area->prev != NULL && !area->prev->used) {
        spare[1] = merge_into_prev(area);
    }
}

static int set_locked(struct area *area, size_t index, mfn_t mfn)
{
    BUG_ON(index >= area->pages - 1);
    uintptr_t va = page_va(area, index);
    BUG_ON(mfn_valid(vmap_pt_get(va)));
    int rc = vmap_pt_map(va, mfn);
    if (rc != 0) {
        return rc;
    }
    area->mapped_start = area->mapped == 0 ? index : MIN(area->mapped_start, index);
    area->mapped_end = area->mapped == 0 ? index + 1 : MAX(area->mapped_end, index + 1);
    area->mapped++;
    return 0;
}

int vmap_set(void *area, size_t index, mfn_t mfn)
{
    spin_lock(&vmap_lock);
    int rc = set_locked(area_at(area), index, mfn);
    spin_unlock(&vmap_lock);
    return rc;
}

mfn_t vmap_get(const void *area, size_t index)
{
    spin_lock(&vmap_lock);
    const struct area *a = area_at(area);
    BUG_ON(index >= a->pages - 1);
    mfn_t mfn = vmap_pt_get(page_va(a, index));
    spin_unlock(&vmap_lock);
    return mfn;
}

/* Unmaps an area, its pages going back to the pool or not, and releases it. */
static void unmap(void *va, bool free_frames)
{
    struct area *spare[2] = {NULL, NULL};

    if (va == NULL) {
        return;
    }
    spin_lock(&vmap_lock);
    struct area *area = area_at(va);
    for (size_t i = area->mapped_start; area->mapped > 0 && i < area->mapped_end; i++) {
        mfn_t mfn = vmap_pt_get(page_va(area, i));

        if (!mfn_valid(mfn)) {
            continue;
        }
        vmap_pt_unmap(page_va(area, i));
        area->mapped--;
        if (free_frames) {
            pool_free(mfn_to_va(mfn));
        }
    }
    BUG_ON(area->mapped != 0);
    vmap_flushes++;
    release_locked(area, spare);
    spin_unlock(&vmap_lock);
    kfree(spare[0]);
    kfree(spare[1]);
}

void vunmap(void *area)
{
    unmap(area, false);
}

void *vmalloc(size_t bytes)
{
    size_t pages = bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0 ? 1 : 0);
    void *va = vmap_reserve(pages);

    if (va == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < pages; i++) {
        void *page = pool_alloc();

        if (page == NULL || vmap_set(va, i, va_to_mfn(page)) != 0) {
            if (page != NULL) {
                pool_free(page);
            }
            vfree(va);
            return NULL;
        }
    }
    return va;
}

void vfree(void *area)
{
    unmap(area, true);
}

bool vmap_busy(void)
{
    return spin_is_locked(&vmap_lock);
}
