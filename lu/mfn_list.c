/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking the MFN list that the previous image left.
 *
 * Trusts nothing in it: frames are checked before they are read, and a chain that runs in a circle
 * ends. A frame that is named twice is for `visit` to notice (it claims them).
 * Host test: tests/host/test_mfn_list.c
 */
#include "hv/stream.h"

#include "hv/errno.h"
#include "hv/seam.h"

struct walk {
    bool (*usable)(mfn_t mfn);
    int (*visit)(void *ctx, mfn_t mfn, uint64_t index, bool is_list);
    void *ctx;
    uint64_t left; /* stream pages still to come */
    uint64_t index;
    const char **why;
};

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EINVAL;
}

/* Physical addresses have at most 52 bits (SDM, "Physical Address Space"). */
static bool frame_ok(const struct walk *w, mfn_t mfn)
{
    return mfn.v != 0 && mfn.v < BIT(52 - PAGE_SHIFT) && w->usable(mfn);
}

static int visit(const struct walk *w, mfn_t mfn, uint64_t index, bool is_list)
{
    int rc = w->visit(w->ctx, mfn, index, is_list);

    if (rc != 0) {
        *w->why = is_list ? "mfn list: list page not accepted" : "mfn list: page not accepted";
    }
    return rc;
}

static int walk_entries(struct walk *w, const struct lu_mfn_list_page *page)
{
    for (size_t i = 0; i < LU_MFN_LIST_ENTRIES; i++) {
        mfn_t mfn = mfn_from(page->mfns[i]);
        int rc;

        if (w->left == 0) {
            if (mfn.v != 0) {
                return refuse(w->why, "mfn list: more pages than the breadcrumb says");
            }
            continue;
        }
        if (mfn.v == 0) {
            return refuse(w->why, "mfn list: fewer pages than the breadcrumb says");
        }
        if (!frame_ok(w, mfn)) {
            return refuse(w->why, "mfn list: page is not usable memory");
        }
        rc = visit(w, mfn, w->index, false);
        if (rc != 0) {
            return rc;
        }
        w->index++;
        w->left--;
    }
    return 0;
}

int mfn_list_walk(paddr_t list_pa, uint64_t pages, bool (*usable)(mfn_t mfn),
                  int (*visitor)(void *ctx, mfn_t mfn, uint64_t index, bool is_list), void *ctx,
                  const char **why)
{
    struct walk w = {usable, visitor, ctx, pages, 0, why};
    paddr_t mark = 0; /* a list page seen before, moved on at every power of two */

    if (pages == 0) {
        return refuse(why, "mfn list: no pages");
    }
    for (uint64_t nr = 0; list_pa != 0; nr++) {
        const struct lu_mfn_list_page *page;
        mfn_t mfn = pa_to_mfn(list_pa);
        int rc;

        if (w.left == 0) {
            return refuse(why, "mfn list: chain goes on behind the last page");
        }
        if (list_pa == mark) {
            return refuse(why, "mfn list: chain runs in a circle");
        }
        if ((nr & (nr - 1)) == 0) {
            mark = list_pa;
        }
        if (!is_aligned(list_pa, PAGE_SIZE) || !frame_ok(&w, mfn)) {
            return refuse(why, "mfn list: list page is not usable memory");
        }
        rc = visit(&w, mfn, nr, true);
        if (rc != 0) {
            return rc;
        }
        page = mfn_to_va(mfn);
        rc = walk_entries(&w, page);
        if (rc != 0) {
            return rc;
        }
        list_pa = page->next_pa;
    }
    return w.left == 0 ? 0 : refuse(why, "mfn list: chain is too short");
}
