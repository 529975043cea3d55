/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the stream: framing and checksum, checked as a whole before a record is handed out.
 *
 * Trusts nothing in the data. Which types exist and what they mean is lu/restore.c's business.
 * Host test: tests/host/test_stream.c, tests/host/fuzz/fuzz_stream.c
 */
#include "hv/stream.h"

#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/string.h"

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EBADMSG;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

static int check_header(const uint8_t *data, size_t length, uint32_t *version, const char **why)
{
    struct lu_stream_header header;

    if (!is_aligned((uintptr_t)data, PAGE_SIZE) || length == 0 || !is_aligned(length, PAGE_SIZE)) {
        return refuse(why, "stream: not whole pages");
    }
    memcpy(&header, data, sizeof(header));
    if (header.magic != LU_STREAM_MAGIC) {
        return refuse(why, "stream: no magic");
    }
    /* Before anything else of the stream is looked at: the rest may be different there. */
    if (header.version < LU_STREAM_VERSION_MIN || header.version > LU_STREAM_VERSION) {
        *why = "stream: version not known here";
        return -EPROTO;
    }
    if (header.reserved != 0) {
        return refuse(why, "stream: header's reserved field is not 0");
    }
    *version = header.version;
    return 0;
}

/* The END record at `offset`; its header has been read already. */
static int check_end(const uint8_t *data, size_t length, size_t offset,
                     const struct lu_record *record, const char **why)
{
    size_t behind = offset + sizeof(*record) + sizeof(struct lu_rec_end);
    struct lu_rec_end end;

    if (record->length != sizeof(end) || behind > length) {
        return refuse(why, "stream: END of a wrong size");
    }
    memcpy(&end, data + offset + sizeof(*record), sizeof(end));
    if (end.reserved != 0) {
        return refuse(why, "stream: END's reserved field is not 0");
    }
    if (length - behind >= PAGE_SIZE) {
        return refuse(why, "stream: END is not in the last page");
    }
    if (!all_zero(data + behind, length - behind)) {
        return refuse(why, "stream: something follows END");
    }
    if (crc32c(0, data, offset) != end.crc) {
        return refuse(why, "stream: checksum is wrong");
    }
    return 0;
}

/* Finds END; *end becomes its offset. */
static int check_records(const uint8_t *data, size_t length, size_t *end, const char **why)
{
    size_t offset = sizeof(struct lu_stream_header);
    struct lu_record record;

    for (;;) {
        size_t left;

        if (length - offset < sizeof(record)) {
            return refuse(why, "stream: no END");
        }
        memcpy(&record, data + offset, sizeof(record));
        if (record.type == LU_REC_END) {
            *end = offset;
            return check_end(data, length, offset, &record, why);
        }
        if (record.type == 0) {
            return refuse(why, "stream: record of type 0");
        }
        left = length - offset - sizeof(record);
        if (record.length > left) {
            return refuse(why, "stream: record longer than the stream");
        }
        offset += sizeof(record) + record.length;
        /* length is a multiple of 8, so the padding fits where the payload does. */
        if (!all_zero(data + offset, align_up(offset, 8) - offset)) {
            return refuse(why, "stream: padding is not 0");
        }
        offset = align_up(offset, 8);
    }
}

int stream_open(struct stream_reader *r, const void *data, size_t length, const char **why)
{
    uint32_t version;
    size_t end;
    int rc = check_header(data, length, &version, why);

    if (rc == 0) {
        rc = check_records(data, length, &end, why);
    }
    if (rc == 0) {
        /* The reader's length is what stream_next() may hand out: all before END. */
        *r = (struct stream_reader){.data = data, .length = end, .version = version};
        stream_rewind(r);
    }
    return rc;
}

int stream_next(struct stream_reader *r, struct stream_item *item)
{
    struct lu_record record;

    if (r->offset >= r->length) {
        return 0;
    }
    memcpy(&record, r->data + r->offset, sizeof(record));
    *item = (struct stream_item){
        .type = record.type,
        .data = r->data + r->offset + sizeof(record),
        .length = record.length,
    };
    r->offset += sizeof(record) + align_up(record.length, 8);
    return 1;
}

void stream_rewind(struct stream_reader *r)
{
    r->offset = sizeof(struct lu_stream_header);
}
