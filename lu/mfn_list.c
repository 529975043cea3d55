/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking the MFN list that the previous image left.
 *
 * Trusts nothing in it: frames are checked before they are read, and a chain that runs in a circle
 * ends. A frame that is named twice is for `visit` to notice (it claims them). A checksum is
 * compared by a pass of its own over the chain, before anything that is named is looked at.
 * Host test: tests/host/test_mfn_list.c
 */
#include "hv/stream.h"

#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/string.h"

/* The list's own pages, one after the other. */
struct chain {
    bool (*usable)(mfn_t mfn);
    paddr_t next_pa;
    paddr_t mark;   /* a list page seen before, moved on at every power of two */
    uint64_t nr;    /* list pages so far */
    uint64_t pages; /* stream pages that they have to name */
    const char **why;
};

struct walk {
    int (*visit)(void *ctx, mfn_t mfn, uint64_t index, bool is_list);
    void *ctx;
    uint64_t left; /* stream pages still to come */
    uint64_t index;
};

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EINVAL;
}

/* Physical addresses have at most 52 bits (SDM, "Physical Address Space"). */
static bool frame_ok(const struct chain *c, mfn_t mfn)
{
    return mfn.v != 0 && mfn.v < BIT(52 - PAGE_SHIFT) && c->usable(mfn);
}

/* 1 and the next list page; 0 behind the last one. */
static int chain_next(struct chain *c, mfn_t *mfn)
{
    paddr_t pa = c->next_pa;

    if (c->nr > (c->pages - 1) / LU_MFN_LIST_ENTRIES) {
        return pa == 0 ? 0 : refuse(c->why, "mfn list: chain goes on behind the last page");
    }
    if (pa == 0) {
        return refuse(c->why, "mfn list: chain is too short");
    }
    if (pa == c->mark) {
        return refuse(c->why, "mfn list: chain runs in a circle");
    }
    if ((c->nr & (c->nr - 1)) == 0) {
        c->mark = pa;
    }
    *mfn = pa_to_mfn(pa);
    if (!is_aligned(pa, PAGE_SIZE) || !frame_ok(c, *mfn)) {
        return refuse(c->why, "mfn list: list page is not usable memory");
    }
    c->next_pa = ((const struct lu_mfn_list_page *)mfn_to_va(*mfn))->next_pa;
    c->nr++;
    return 1;
}

static int check_crc(struct chain c, uint32_t want)
{
    uint32_t crc = 0;
    mfn_t mfn;
    int rc;

    while ((rc = chain_next(&c, &mfn)) == 1) {
        crc = crc32c(crc, mfn_to_va(mfn), PAGE_SIZE);
    }
    if (rc == 0 && crc != want) {
        *c.why = "mfn list: checksum is wrong";
        rc = -EBADMSG;
    }
    return rc;
}

static int visit(const struct chain *c, const struct walk *w, mfn_t mfn, bool is_list)
{
    int rc = w->visit(w->ctx, mfn, is_list ? c->nr - 1 : w->index, is_list);

    if (rc != 0) {
        *c->why = is_list ? "mfn list: list page not accepted" : "mfn list: page not accepted";
    }
    return rc;
}

static int walk_entries(const struct chain *c, struct walk *w, const struct lu_mfn_list_page *page)
{
    for (size_t i = 0; i < LU_MFN_LIST_ENTRIES; i++) {
        mfn_t mfn = mfn_from(page->mfns[i]);
        int rc;

        if (w->left == 0) {
            return mem_is_zero(&page->mfns[i], sizeof(page->mfns) - i * sizeof(page->mfns[0]))
                       ? 0
                       : refuse(c->why, "mfn list: more pages than the breadcrumb says");
        }
        if (mfn.v == 0) {
            return refuse(c->why, "mfn list: fewer pages than the breadcrumb says");
        }
        if (!frame_ok(c, mfn)) {
            return refuse(c->why, "mfn list: page is not usable memory");
        }
        rc = visit(c, w, mfn, false);
        if (rc != 0) {
            return rc;
        }
        w->index++;
        w->left--;
    }
    return 0;
}

int mfn_list_walk(paddr_t list_pa, uint64_t pages, const uint32_t *list_crc,
                  bool (*usable)(mfn_t mfn),
                  int (*visitor)(void *ctx, mfn_t mfn, uint64_t index, bool is_list), void *ctx,
                  const char **why)
{
    struct chain c = {.usable = usable, .next_pa = list_pa, .pages = pages, .why = why};
    struct walk w = {visitor, ctx, pages, 0};
    mfn_t mfn;
    int rc;

    if (pages == 0) {
        return refuse(why, "mfn list: no pages");
    }
    rc = list_crc != NULL ? check_crc(c, *list_crc) : 0;
    if (rc != 0) {
        return rc;
    }
    while ((rc = chain_next(&c, &mfn)) == 1) {
        rc = visit(&c, &w, mfn, true);
        if (rc == 0) {
            rc = walk_entries(&c, &w, mfn_to_va(mfn));
        }
        if (rc != 0) {
            return rc;
        }
    }
    return rc;
}

uint32_t mfn_list_crc(paddr_t list_pa)
{
    uint32_t crc = 0;

    while (list_pa != 0) {
        const struct lu_mfn_list_page *page = mfn_to_va(pa_to_mfn(list_pa));

        crc = crc32c(crc, page, sizeof(*page));
        list_pa = page->next_pa;
    }
    return crc;
}
