/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of pages from guests: nothing in them is trusted.
 *
 * Host test: tests/host/test_domctl.c, tests/host/test_update.c
 */
#include "hv/guest_pages.h"

#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/vmap.h"

#define LIST_CHUNK 64U

int guest_pages_check(const struct domain *d, const struct guest_pages *p)
{
    if (p->pages == 0 || p->pages > UINT64_MAX / PAGE_SIZE || p->bytes > p->pages * PAGE_SIZE ||
        p->bytes <= (p->pages - 1) * PAGE_SIZE) {
        return -EINVAL;
    }
    return p->pages > d->memory_bytes >> PAGE_SHIFT ? -E2BIG : 0;
}

/* Calls fn for each page in order. The list is read once. */
static int walk(struct domain *d, const struct guest_pages *p,
                int (*fn)(void *area, uint64_t index, mfn_t mfn), void *area)
{
    uint64_t gfns[LIST_CHUNK];

    for (uint64_t i = 0; i < p->pages; i += LIST_CHUNK) {
        uint64_t n = MIN(p->pages - i, LIST_CHUNK);

        if (domain_read(d, p->list_gpa + i * sizeof(gfns[0]), gfns, n * sizeof(gfns[0])) != 0) {
            return -EFAULT;
        }
        for (uint64_t k = 0; k < n; k++) {
            mfn_t mfn;
            int rc;

            if (extent_map_leaf(&d->extents, gfn_from(gfns[k]), ORDER_4K, &mfn) < 0 ||
                fresh_touch(d, gfns[k], gfns[k] + 1) != 0) {
                return -EFAULT;
            }
            rc = fn(area, i + k, mfn);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int copy_page(void *area, uint64_t index, mfn_t mfn)
{
    memcpy((uint8_t *)area + index * PAGE_SIZE, mfn_to_va(mfn), PAGE_SIZE);
    return 0;
}

int guest_pages_copy(struct domain *d, const struct guest_pages *p, void **out)
{
    void *area = vmalloc(p->pages * PAGE_SIZE);
    int rc;

    if (area == NULL) {
        return -ENOMEM;
    }
    rc = walk(d, p, copy_page, area);
    if (rc != 0) {
        vfree(area);
        return rc;
    }
    *out = area;
    return 0;
}

static int map_page(void *area, uint64_t index, mfn_t mfn)
{
    return vmap_set(area, index, mfn);
}

int guest_pages_map(struct domain *d, const struct guest_pages *p, void **out)
{
    void *area = vmap_reserve(p->pages);
    int rc;

    if (area == NULL) {
        return -ENOMEM;
    }
    rc = walk(d, p, map_page, area);
    if (rc != 0) {
        vunmap(area);
        return rc;
    }
    *out = area;
    return 0;
}
