/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stream framing: records in scattered pages, the MFN list that names the pages, and the reader
 * that trusts nothing. Knows lu_abi.h's framing but not what the records mean (lu/save.c,
 * lu/restore.c).
 */
#ifndef HV_STREAM_H
#define HV_STREAM_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "public/lu_abi.h"

/* ---- writer ---- */

/*
 * Pages come from buddy_alloc(0, FRAME_STREAM) and carry the MFN list as it grows. Errors stick:
 * after the first -ENOMEM every call fails and stream_end() reports it, so callers need not check
 * each record.
 */
struct stream_writer {
    LAYOUT(uint64_t pages; uint64_t length;,
           int error; uint32_t crc; paddr_t list_pa; struct lu_mfn_list_page *tail; size_t tail_nr;
           uint8_t *page; size_t record_left; uint32_t version;)
};

/* Starts a stream with its header. `version`: the newest that both images know. */
void stream_begin(struct stream_writer *w, uint32_t version);

/* A whole record: payload in up to two pieces (fixed part, variable part; either may be empty). */
void stream_record(struct stream_writer *w, uint32_t type, const void *fixed, size_t fixed_len,
                   const void *rest, size_t rest_len);

/* A record whose payload of exactly `length` bytes comes in many pieces. */
void stream_record_begin(struct stream_writer *w, uint32_t type, uint32_t length);
void stream_append(struct stream_writer *w, const void *data, size_t len);
void stream_record_end(struct stream_writer *w); /* pads; BUG when the length was not met */

/* Appends END with the checksum. 0 or the first error. */
MUST_CHECK int stream_end(struct stream_writer *w);

/* Frees all stream and MFN-list pages (cancelled update). Slice: a page of the list and what it
 * names; true when nothing is left. In between the list is whole, and shorter. */
void stream_free(struct stream_writer *w);
bool stream_free_slice(struct stream_writer *w);

/* ---- MFN list ---- */

/*
 * Walks an MFN list found by breadcrumb. Calls `visit` for every list page (is_list true) and every
 * stream page in order. Each frame is checked by `usable` before it is touched. `list_crc`: what
 * mfn_list_crc() said of the list, compared before anything is visited; NULL when it is not known.
 * Returns 0, -EINVAL (a frame that is not usable, a chain that is too short or too long for
 * `pages`, an unused entry that is not 0), -EBADMSG (checksum) or what visit returned, with *why.
 */
MUST_CHECK int mfn_list_walk(paddr_t list_pa, uint64_t pages, const uint32_t *list_crc,
                             bool (*usable)(mfn_t mfn),
                             int (*visit)(void *ctx, mfn_t mfn, uint64_t index, bool is_list),
                             void *ctx, const char **why);

/* CRC-32C over the pages of a list, in the order of the chain (lu_way_back.list_crc). Trusts it:
 * for the list that was just written. */
uint32_t mfn_list_crc(paddr_t list_pa);

/* ---- reader ---- */

struct stream_reader {
    LAYOUT(const uint8_t *data; size_t length;, size_t offset; uint32_t version;)
};

struct stream_item {
    uint32_t type;       /* with the optional bit */
    const uint8_t *data; /* payload, 8-byte aligned */
    size_t length;       /* payload bytes, without padding */
};

/*
 * Checks header, framing, padding (zero), END and checksum over [data, data + length); data is
 * page-aligned, length a multiple of the page size, END lies in the last page and is followed by
 * zeros only. Version must be within [LU_STREAM_VERSION_MIN, lu_stream_newest()]. Returns 0,
 * -EPROTO (version), -EBADMSG (anything else), with *why. On success the reader stands at the first
 * record.
 */
MUST_CHECK int stream_open(struct stream_reader *r, const void *data, size_t length,
                           const char **why);

/*
 * Of a stream that is still being written: header, framing and padding of all that is there so far,
 * [data, data + length). No checksum yet. 0 or as above; the reader has these records. More: the
 * same for records that have come since, [data + from, data + length), whatever stands before; for
 * the same reader.
 */
MUST_CHECK int stream_open_part(struct stream_reader *r, const void *data, size_t length,
                                const char **why);
MUST_CHECK int stream_open_more(struct stream_reader *r, const void *data, size_t length,
                                size_t from, const char **why);

/* stream_open(), but for the framing of records that were found good in parts: `from` is where they
 * end. The reader stands behind them. */
MUST_CHECK int stream_open_rest(struct stream_reader *r, const void *data, size_t length,
                                size_t from, const char **why);

/* Next record before END: 1, or 0 at END. Only after stream_open() succeeded; cheap. */
int stream_next(struct stream_reader *r, struct stream_item *item);
void stream_rewind(struct stream_reader *r);

#endif
