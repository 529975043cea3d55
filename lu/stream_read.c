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
#include "hv/lu.h"
#include "hv/string.h"

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EBADMSG;
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
    if (header.version < LU_STREAM_VERSION_MIN || header.version > lu_stream_newest()) {
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
    if (!mem_is_zero(data + behind, length - behind)) {
        return refuse(why, "stream: something follows END");
    }
    if (crc32c(0, data, offset) != end.crc) {
        return refuse(why, "stream: checksum is wrong");
    }
    return 0;
}

/* One record, not END: its padding, and *offset moves behind it. */
static int check_record(const uint8_t *data, size_t length, size_t *offset,
                        const struct lu_record *record, const char **why)
{
    size_t behind;

    if (record->type == 0) {
        return refuse(why, "stream: record of type 0");
    }
    if (record->length > length - *offset - sizeof(*record)) {
        return refuse(why, "stream: record longer than the stream");
    }
    behind = *offset + sizeof(*record) + record->length;
    /* length is a multiple of 8, so the padding fits where the payload does. */
    if (!mem_is_zero(data + behind, align_up(behind, 8) - behind)) {
        return refuse(why, "stream: padding is not 0");
    }
    *offset = align_up(behind, 8);
    return 0;
}

/* From a record at *offset to END, whose offset *offset becomes. With `part`, there is no END yet,
 * and the records end where the data do. */
static int check_records(const uint8_t *data, size_t length, size_t *offset, bool part,
                         const char **why)
{
    struct lu_record record;
    int rc = 0;

    while (rc == 0) {
        if (part && *offset == length) {
            return 0;
        }
        if (length - *offset < sizeof(record)) {
            return refuse(why, "stream: no END");
        }
        memcpy(&record, data + *offset, sizeof(record));
        if (record.type == LU_REC_END) {
            return part ? refuse(why, "stream: END too early")
                        : check_end(data, length, *offset, &record, why);
        }
        rc = check_record(data, length, offset, &record, why);
    }
    return rc;
}

/* The reader's length is what stream_next() may hand out: all before END. `version`: the stream's,
 * whose header is not there; 0: it is. */
static int open_records(struct stream_reader *r, uint32_t version, const uint8_t *data,
                        size_t length, size_t from, bool part, const char **why)
{
    size_t end = from;
    int rc = version != 0
                 ? 0
                 : check_header(data, part ? align_up(length, PAGE_SIZE) : length, &version, why);

    if (rc == 0) {
        rc = check_records(data, length, &end, part, why);
    }
    if (rc == 0) {
        *r =
            (struct stream_reader){.data = data, .length = end, .offset = from, .version = version};
    }
    return rc;
}

int stream_open(struct stream_reader *r, const void *data, size_t length, const char **why)
{
    return open_records(r, 0, data, length, sizeof(struct lu_stream_header), false, why);
}

int stream_open_part(struct stream_reader *r, const void *data, size_t length, const char **why)
{
    if (!is_aligned(length, 8) || length < sizeof(struct lu_stream_header)) {
        return refuse(why, "stream: not whole records");
    }
    return open_records(r, 0, data, length, sizeof(struct lu_stream_header), true, why);
}

int stream_open_more(struct stream_reader *r, const void *data, size_t length, size_t from,
                     const char **why)
{
    if (!is_aligned(length | from, 8) || from > length) {
        return refuse(why, "stream: not whole records");
    }
    return open_records(r, r->version, data, length, from, true, why);
}

int stream_open_rest(struct stream_reader *r, const void *data, size_t length, size_t from,
                     const char **why)
{
    if (from > length) {
        return refuse(why, "stream: shorter than it was");
    }
    return open_records(r, 0, data, length, from, false, why);
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
