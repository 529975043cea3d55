/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as a stream.
 *
 * The first byte chooses: as it is; or with the header and the checksum put right, so that the
 * fuzzer gets past them and only framing is left to refuse.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/crc32c.h"
#include "hv/stream.h"
#include "seed.h"

static size_t put_record(uint8_t *data, size_t at, uint32_t type, const void *payload, uint32_t n)
{
    struct lu_record record = {type, n};

    memcpy(data + at, &record, sizeof(record));
    memcpy(data + at + sizeof(record), payload, n);
    return at + sizeof(record) + align_up(n, 8);
}

/* Sums up to the first END that framing leads to, as the reader will. */
static void fix_up(uint8_t *data, size_t length)
{
    struct lu_stream_header header = {.magic = LU_STREAM_MAGIC, .version = LU_STREAM_VERSION};
    size_t at = sizeof(header);

    memcpy(data, &header, sizeof(header));
    while (length - at >= sizeof(struct lu_record) + sizeof(struct lu_rec_end)) {
        struct lu_record record;

        memcpy(&record, data + at, sizeof(record));
        if (record.type == LU_REC_END) {
            struct lu_rec_end end = {.crc = crc32c(0, data, at)};

            memcpy(data + at + sizeof(record), &end.crc, sizeof(end.crc));
            return;
        }
        if (align_up(record.length, 8) > length - at - sizeof(record)) {
            return;
        }
        at += sizeof(record) + align_up(record.length, 8);
    }
}

size_t seed_make(uint8_t *data, size_t max, unsigned int choice)
{
    uint8_t page[512] = {0};
    struct lu_rec_end end = {0};
    size_t at = sizeof(struct lu_stream_header);

    at = put_record(page, at, LU_REC_HOST, "some payload", 12);
    if (choice % 2 != 0) {
        at = put_record(page, at, LU_REC_OPTIONAL | 99, "", 0);
        at = put_record(page, at, LU_REC_DOMAIN, "another payload, longer", 23);
    }
    at = put_record(page, at, LU_REC_END, &end, sizeof(end));
    fix_up(page, at);
    if (at + 1 > max) {
        return 0;
    }
    data[0] = (uint8_t)choice;
    memcpy(data + 1, page, at);
    return at + 1;
}

static uint64_t walk(struct stream_reader *r, const uint8_t *data, size_t length)
{
    struct stream_item item;
    uint64_t sum = 0;

    while (stream_next(r, &item) == 1) {
        if (item.type == LU_REC_END || (uintptr_t)item.data % 8 != 0 || item.data < data ||
            item.length > length - (size_t)(item.data - data)) {
            abort();
        }
        sum = sum * 31 + item.type + crc32c(0, item.data, item.length);
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream_reader r;
    const char *why;
    size_t length;
    void *p = NULL;

    if (size < 1) {
        return 0;
    }
    length = align_up(size - 1, PAGE_SIZE);
    if (posix_memalign(&p, PAGE_SIZE, length > 0 ? length : PAGE_SIZE) != 0) {
        abort();
    }
    memset(p, 0, length);
    memcpy(p, data + 1, size - 1);
    if (data[0] % 2 != 0 && length > 0) {
        fix_up(p, length);
    }
    if (stream_open(&r, p, length, &why) == 0) {
        uint64_t sum = walk(&r, p, length);

        stream_rewind(&r);
        if (walk(&r, p, length) != sum) {
            abort();
        }
    }
    free(p);
    return 0;
}
