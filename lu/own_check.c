/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The old side's check of what it has just written: the reader's own, and besides, that every
 * preserved frame of the running image is in it, and once.
 *
 * What is written ahead is checked ahead, record by record while guests run: that is where the
 * extents are. In the pause the check goes on behind it, and the checksum shows that what stands
 * before is as it was. A fault in the pause leaves it half-way (hv/way_back.h), so what it holds is
 * kept where own_check_forget() finds it.
 */
#include "check_priv.h"

#include "hv/audit.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/vmap.h"

static bool usable(mfn_t mfn)
{
    return frametable_get(mfn).state == FRAME_STREAM;
}

/* What the stream names of preserved memory. */
static uint64_t named[FRAME_STATES];

static void *area; /* the stream's pages */

static struct {
    struct checker checker;
    struct stream_reader reader;     /* of the last records */
    size_t length;                   /* of the stream that has been checked; 0: nothing yet */
    uint32_t names;                  /* of the audit, see audit_forget_names() */
    paddr_t list_pa;                 /* page of the MFN list ... */
    uint64_t list_first;             /* ... that begins with this page of the stream */
    const struct lu_extent *unnamed; /* of the last records, which are mapped */
    size_t nr_unnamed;
    uint16_t owner;
    int rc;
    const char *why;
} ahead;

#define EXTENTS_PER_SLICE 512U /* are named at once */

/* All of [start, end), in blocks of any size. */
static bool all_in_state(mfn_t start, mfn_t end, enum frame_state state)
{
    struct frame_info f;

    for (mfn_t at = start; at.v < end.v; at.v = f.head.v + BIT(f.order)) {
        f = frametable_get(at);
        if (f.state != state) {
            return false;
        }
    }
    return true;
}

/* The old side knows whose each frame is. */
static int check_frames(mfn_t start, mfn_t end, enum frame_state state, uint16_t owner)
{
    (void)owner;
    named[state] += end.v - start.v;
    return all_in_state(start, end, state) ? 0 : -EINVAL;
}

/* Names some of the extents that wait for it. */
static int name_extents(size_t max)
{
    size_t nr = MIN(ahead.nr_unnamed, max);
    size_t n;

    if (nr == 0) {
        return 0;
    }
    n = audit_name_extents(ahead.unnamed, nr, ahead.owner);
    for (size_t i = 0; i < n; i++) {
        named[FRAME_GUEST] += BIT(ahead.unnamed[i].order);
    }
    ahead.unnamed += n;
    ahead.nr_unnamed -= n;
    return n == nr ? 0 : -EINVAL;
}

/* Those of a whole record are too many for a slice. */
static size_t note_extents(const struct lu_extent *e, size_t nr, uint16_t owner, int *rc)
{
    *rc = name_extents(ahead.nr_unnamed);
    ahead.unnamed = e;
    ahead.nr_unnamed = nr;
    ahead.owner = owner;
    return nr;
}

static const struct frame_keeper own_keeper = {check_frames, note_extents, NULL};

/* What the stream can name of the frames in a state: version 1 has no flight recorder. */
static uint64_t to_be_named(const struct stream_reader *reader, enum frame_state state)
{
    bool known = state != FRAME_RECORDER || restore_knows(reader, LU_REC_RECORDER);

    return known ? frametable_count(state) : 0;
}

static bool all_named(const struct stream_reader *reader)
{
    static const enum frame_state states[] = {FRAME_GUEST, FRAME_MODULE, FRAME_RECORDER};

    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        if (named[states[i]] != to_be_named(reader, states[i])) {
            return false;
        }
    }
    return true;
}

static void unmap_stream(void)
{
    vunmap(area);
    area = NULL;
}

void own_check_forget(void)
{
    unmap_stream();
    checker_forget(&ahead.checker);
    ahead.length = 0;
}

void own_check_begin(const struct stream_writer *w)
{
    memset(named, 0, sizeof(named));
    ahead.length = 0;
    ahead.nr_unnamed = 0;
    ahead.rc = 0;
    ahead.names = audit_forget_names();
    ahead.list_pa = w->list_pa;
    ahead.list_first = 0;
    checker_begin(&ahead.checker, &own_keeper, &ahead.why);
}

/* The frame of a page of the stream: pages are asked for in their order. */
static mfn_t stream_frame(uint64_t page)
{
    const struct lu_mfn_list_page *list = mfn_to_va(pa_to_mfn(ahead.list_pa));

    while (page - ahead.list_first >= LU_MFN_LIST_ENTRIES) {
        ahead.list_pa = list->next_pa;
        ahead.list_first += LU_MFN_LIST_ENTRIES;
        list = mfn_to_va(pa_to_mfn(ahead.list_pa));
    }
    return mfn_from(list->mfns[page - ahead.list_first]);
}

/* The stream's pages from `first` on. */
static int map_from(const struct stream_writer *w, uint64_t first)
{
    int rc = 0;

    ahead.why = "no room to map the stream";
    area = vmap_reserve(w->pages - first);
    for (uint64_t page = first; area != NULL && rc == 0 && page < w->pages; page++) {
        rc = vmap_set(area, page - first, stream_frame(page));
    }
    return area != NULL ? rc : -ENOMEM;
}

static int check_new(const struct stream_writer *w)
{
    uint64_t first = ahead.length / PAGE_SIZE;
    size_t before = first * PAGE_SIZE;
    int rc = map_from(w, first);

    if (rc != 0) {
        return rc;
    }
    rc = ahead.length == 0 ? stream_open_part(&ahead.reader, area, w->length, &ahead.why)
                           : stream_open_more(&ahead.reader, area, w->length - before,
                                              ahead.length - before, &ahead.why);
    return rc == 0 ? checker_records(&ahead.checker, &ahead.reader) : rc;
}

/* What is found wrong is told in the pause. */
bool own_check_ahead(const struct stream_writer *w)
{
    size_t at_once = EXTENTS_PER_SLICE;

    if (ahead.names != audit_names()) { /* what has been named is forgotten */
        at_once = SIZE_MAX;             /* whoever audits again and again does not stop it */
        own_check_forget();
        own_check_begin(w);
    }
    if (w->error != 0 || ahead.rc != 0 || w->record_left != 0) {
        return true;
    }
    if (ahead.length != w->length && ahead.nr_unnamed == 0) {
        unmap_stream();
        ahead.rc = check_new(w);
        ahead.length = w->length;
    }
    if (ahead.rc == 0 && name_extents(at_once) != 0) {
        ahead.why = "EXTENTS: frames that cannot be the domain's, or are taken";
        ahead.rc = -EBADMSG;
    }
    if (ahead.nr_unnamed == 0 || ahead.rc != 0) {
        unmap_stream();
        return true;
    }
    return false;
}

/* The rest of the stream, and the whole against what is running: every preserved frame is named,
 * and named once. */
static int check_rest(struct stream_reader *reader, const char **why)
{
    int rc;

    ahead.checker.why = why;
    rc = checker_records(&ahead.checker, reader);
    if (rc == 0) {
        rc = checker_end(&ahead.checker);
    }
    if (rc == 0 && !all_named(reader)) {
        *why = "not all preserved frames are in the stream";
        rc = -EBADMSG;
    }
    return rc;
}

int own_check(const struct stream_writer *w, const char **why)
{
    struct stream_reader reader;
    int rc = ahead.rc;

    BUG_ON(ahead.length == 0);
    *why = ahead.why;
    if (rc == 0) {
        rc = stream_map(w->list_pa, w->pages, NULL, usable, NULL, &area, why);
    }
    if (rc == 0) {
        rc = stream_open_rest(&reader, area, w->pages * PAGE_SIZE, ahead.length, why);
    }
    if (rc == 0) {
        rc = check_rest(&reader, why);
    }
    own_check_forget();
    return rc;
}
