/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream's scattered pages at contiguous addresses.
 */
#include "lu_priv.h"

#include "hv/errno.h"
#include "hv/vmap.h"

struct map_context {
    void *area;
    int (*visit_page)(mfn_t mfn);
};

static int map_page(void *ctx, mfn_t mfn, uint64_t index, bool is_list)
{
    struct map_context *m = ctx;
    int rc = m->visit_page != NULL ? m->visit_page(mfn) : 0;

    if (rc == 0 && !is_list) {
        rc = vmap_set(m->area, index, mfn);
    }
    return rc;
}

int stream_map(paddr_t list_pa, uint64_t pages, const uint32_t *list_crc, bool (*usable)(mfn_t mfn),
               int (*visit_page)(mfn_t mfn), void **out, const char **why)
{
    struct map_context m = {NULL, visit_page};
    int rc;

    *why = "no room to map the stream";
    m.area = vmap_reserve(pages);
    if (m.area == NULL) {
        return -ENOMEM;
    }
    rc = mfn_list_walk(list_pa, pages, list_crc, usable, map_page, &m, why);
    if (rc != 0) {
        vunmap(m.area);
        return rc;
    }
    *out = m.area;
    return 0;
}
