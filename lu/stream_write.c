/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the stream: records into scattered pages, the MFN list and the checksum along the way.
 *
 * Runs inside the pause, so each byte is touched once: copied and summed in the same step.
 * Invariant: `page` holds byte `length - 1` whenever length > 0, and `length` grows only by bytes
 * that are really written.  Host test: tests/host/test_stream.c
 */
#include "hv/stream.h"

#include "hv/buddy.h"
#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"

static void *stream_page(struct stream_writer *w, mfn_t *mfn)
{
    *mfn = buddy_alloc(ORDER_4K, FRAME_STREAM, OWNER_NONE);
    if (!mfn_valid(*mfn)) {
        w->error = -ENOMEM;
        return NULL;
    }
    return mfn_to_va(*mfn);
}

static void add_list_page(struct stream_writer *w)
{
    mfn_t mfn;
    struct lu_mfn_list_page *list = stream_page(w, &mfn);

    if (list == NULL) {
        return;
    }
    memset(list, 0, sizeof(*list));
    if (w->tail == NULL) {
        w->list_pa = mfn_to_pa(mfn);
    } else {
        w->tail->next_pa = mfn_to_pa(mfn);
    }
    w->tail = list;
    w->tail_nr = 0;
}

static void add_page(struct stream_writer *w)
{
    mfn_t mfn;
    uint8_t *page;

    if (w->tail == NULL || w->tail_nr == LU_MFN_LIST_ENTRIES) {
        add_list_page(w);
        if (w->error != 0) {
            return;
        }
    }
    page = stream_page(w, &mfn);
    if (page != NULL) {
        w->page = page;
        w->tail->mfns[w->tail_nr++] = mfn.v;
        w->pages++;
    }
}

/* Appends bytes of any kind: header, record headers, payload, padding. */
static void put(struct stream_writer *w, const void *data, size_t len)
{
    const uint8_t *from = data;

    while (len > 0 && w->error == 0) {
        size_t at = w->length % PAGE_SIZE;
        size_t n = MIN(len, PAGE_SIZE - at);

        if (at == 0) {
            add_page(w);
            if (w->error != 0) {
                return;
            }
        }
        memcpy(w->page + at, from, n);
        w->crc = crc32c(w->crc, from, n);
        w->length += n;
        from += n;
        len -= n;
    }
}

void stream_begin(struct stream_writer *w, uint32_t version)
{
    struct lu_stream_header header = {.magic = LU_STREAM_MAGIC, .version = version};

    *w = (struct stream_writer){.version = version};
    put(w, &header, sizeof(header));
}

void stream_record_begin(struct stream_writer *w, uint32_t type, uint32_t length)
{
    struct lu_record record = {.type = type, .length = length};

    BUG_ON(w->record_left != 0 || !is_aligned(w->length, 8));
    put(w, &record, sizeof(record));
    w->record_left = length;
}

void stream_append(struct stream_writer *w, const void *data, size_t len)
{
    BUG_ON(len > w->record_left);
    put(w, data, len);
    w->record_left -= len;
}

void stream_record_end(struct stream_writer *w)
{
    static const uint8_t zeros[8];

    BUG_ON(w->record_left != 0);
    /* Aligned after an error too: pages run out between pages only. */
    put(w, zeros, align_up(w->length, 8) - w->length);
}

void stream_record(struct stream_writer *w, uint32_t type, const void *fixed, size_t fixed_len,
                   const void *rest, size_t rest_len)
{
    uint32_t length;

    BUG_ON(__builtin_add_overflow(fixed_len, rest_len, &length));
    stream_record_begin(w, type, length);
    stream_append(w, fixed, fixed_len);
    stream_append(w, rest, rest_len);
    stream_record_end(w);
}

int stream_end(struct stream_writer *w)
{
    struct lu_rec_end end = {.crc = w->crc};

    stream_record(w, LU_REC_END, &end, sizeof(end), NULL, 0);
    if (w->error == 0) {
        size_t at = (w->length - 1) % PAGE_SIZE + 1;

        memset(w->page + at, 0, PAGE_SIZE - at);
    }
    return w->error;
}

bool stream_free_slice(struct stream_writer *w)
{
    paddr_t list_pa = w->list_pa;

    if (list_pa != 0) {
        const struct lu_mfn_list_page *list = mfn_to_va(pa_to_mfn(list_pa));

        for (size_t i = 0; i < LU_MFN_LIST_ENTRIES && list->mfns[i] != 0; i++) {
            buddy_free(mfn_from(list->mfns[i]), ORDER_4K);
            w->pages--;
        }
        w->list_pa = list->next_pa;
        buddy_free(pa_to_mfn(list_pa), ORDER_4K);
    }
    if (w->list_pa != 0) {
        return false;
    }
    *w = (struct stream_writer){.error = 0};
    return true;
}

void stream_free(struct stream_writer *w)
{
    while (!stream_free_slice(w)) {
    }
}
