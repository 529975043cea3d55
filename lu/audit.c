/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit, the update's side: the region, frames that the command line takes away, streams.
 *
 * Host test: tests/host/test_audit.c
 */
#include "hv/audit.h"

#include "hv/cmdline.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "lu_priv.h"

#define ULL(x) ((unsigned long long)(x))

static void check_bad_pages(struct hc_audit *a)
{
    const char *cursor = lu.boot.cmdline;
    struct str_span bad;
    mfn_t start, end;
    int rc;

    while ((rc = cmdline_badpage_next(&cursor, &start, &end, &bad)) != 0) {
        if (rc > 0) {
            audit_name_range(a, start, end, FRAME_BAD, "command line: badpage=");
        }
    }
}

static void check_region(struct hc_audit *a)
{
    mfn_t start = pa_to_mfn(lu.region.base);

    audit_name_range(a, start, pa_to_mfn(lu.region.base + lu.region.size), FRAME_REGION, "region");
    if (frametable_get(mfn_from(0)).state == FRAME_RESERVED) {
        audit_name_range(a, mfn_from(0), mfn_from(1), FRAME_RESERVED, "frame 0");
    }
}

static bool name_stream_page(struct hc_audit *a, mfn_t mfn, const char *what)
{
    enum audit_named named = audit_name(mfn, ORDER_4K, FRAME_STREAM, OWNER_NONE);

    if (named != AUDIT_AGREES) {
        audit_differs(a, mfn, "MFN list: %s%s", what, named == AUDIT_AGAIN ? ", again" : "");
    }
    return named == AUDIT_AGREES;
}

/* The pages of a stream from `first` on, and its list: which ends, since none is taken twice. */
static void check_stream(struct hc_audit *a, paddr_t list_pa, uint64_t first, uint64_t pages)
{
    uint64_t index = 0;

    while (list_pa != 0) {
        const struct lu_mfn_list_page *list;

        if (!name_stream_page(a, pa_to_mfn(list_pa), "a page of the list itself")) {
            return;
        }
        list = mfn_to_va(pa_to_mfn(list_pa));
        for (size_t i = 0; i < LU_MFN_LIST_ENTRIES && list->mfns[i] != 0; i++, index++) {
            if (index >= first) {
                (void)name_stream_page(a, mfn_from(list->mfns[i]), "in it");
            }
        }
        list_pa = list->next_pa;
    }
    if (index != pages) {
        audit_mismatch(a, AUDIT_NO_FRAME, "MFN list: %llu pages; stream: %llu", ULL(index),
                       ULL(pages));
    }
}

void audit_lu(struct hc_audit *a)
{
    const struct stream_writer *w = update_stream();

    check_bad_pages(a);
    check_region(a);
    if (recorder_attached()) {
        audit_name_range(a, pa_to_mfn(lu.recorder.pa),
                         pa_to_mfn(lu.recorder.pa + lu.recorder.bytes), FRAME_RECORDER,
                         "flight recorder");
    }
    if (w != NULL) {
        check_stream(a, w->list_pa, 0, w->pages);
    }
    if (lu.stream != NULL) {
        check_stream(a, lu.breadcrumb.mfn_list_pa,
                     lu.finish == LU_FINISH_STREAM ? lu.finish_cursor : 0, lu.stream_pages);
    }
}
