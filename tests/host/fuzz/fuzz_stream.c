/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: any bytes as a stream.
 *
 * The first byte chooses: as it is; or with the header and the checksum put right, so that the
 * fuzzer gets past them and only framing is left to refuse. The mutator knows records: it changes
 * one's type or length, and drops, doubles, empties and stretches them, END too.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/crc32c.h"
#include "hv/stream.h"
#define SEED_MUTATES
#include "seed.h"

static size_t put_record(uint8_t *data, size_t at, uint32_t type, const void *payload, uint32_t n)
{
    struct lu_record record = {type, n};

    memcpy(data + at, &record, sizeof(record));
    memcpy(data + at + sizeof(record), payload, n);
    return at + sizeof(record) + align_up(n, 8);
}

/* Sums up to the first END that framing leads to, as the reader will. */
static void fix_up(uint8_t *data, size_t length, uint32_t version)
{
    struct lu_stream_header header = {.magic = LU_STREAM_MAGIC, .version = version};
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
    fix_up(page, at, LU_STREAM_VERSION);
    if (at + 1 > max) {
        return 0;
    }
    data[0] = (uint8_t)choice;
    memcpy(data + 1, page, at);
    return at + 1;
}

#define RECORDS_MAX 64U

/* Offsets of the records in [data, data + length), as far as framing holds; the last one is where
 * it ends. */
static size_t find_records(const uint8_t *data, size_t length, size_t at[RECORDS_MAX])
{
    size_t nr = 0, offset = sizeof(struct lu_stream_header);

    while (nr + 1 < RECORDS_MAX && offset <= length &&
           length - offset >= sizeof(struct lu_record)) {
        struct lu_record record;

        memcpy(&record, data + offset, sizeof(record));
        at[nr++] = offset;
        offset += sizeof(record);
        if (align_up((size_t)record.length, 8) > length - offset) {
            break;
        }
        offset += align_up((size_t)record.length, 8);
    }
    at[nr] = offset < length ? offset : length;
    return nr;
}

size_t seed_mutate(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
    static const uint32_t types[] = {0,           LU_REC_HOST,     LU_REC_END,
                                     LU_REC_CPUS, LU_REC_RECORDER, LU_REC_OPTIONAL | LU_REC_END,
                                     UINT32_MAX};
    static const uint32_t lengths[] = {0,         1, 7, 8, 9, 4072, 4096, INT32_MAX, UINT32_MAX - 7,
                                       UINT32_MAX};
    uint8_t *stream = data + 1;
    size_t at[RECORDS_MAX], length = size - 1;
    size_t nr = find_records(stream, length, at);
    unsigned int what = (unsigned int)rand_r(&seed);
    struct lu_record record;

    if (nr == 0) {
        return LLVMFuzzerMutate(data, size, max);
    }
    data[0] |= what % 8 != 0; /* mostly with the checksum put right */
    size_t i = (size_t)rand_r(&seed) % nr, bytes = at[i + 1] - at[i];

    memcpy(&record, stream + at[i], sizeof(record));
    switch (what / 8 % 6) {
    case 0:
        record.type = types[(size_t)rand_r(&seed) % ARRAY_SIZE(types)];
        break;
    case 1:
        record.length = lengths[(size_t)rand_r(&seed) % ARRAY_SIZE(lengths)];
        break;
    case 2:
        record.length += (uint32_t)(rand_r(&seed) % 17 - 8);
        break;
    case 3: /* gone */
        memmove(stream + at[i], stream + at[i + 1], length - at[i + 1]);
        return size - bytes;
    case 4: /* twice */
        if (bytes > max - size) {
            return size;
        }
        memmove(stream + at[i + 1], stream + at[i], length - at[i]);
        return size + bytes;
    default: /* longer, by zeros */
        bytes = 8 * (1 + (size_t)rand_r(&seed) % 600);
        if (bytes > max - size) {
            return size;
        }
        memmove(stream + at[i + 1] + bytes, stream + at[i + 1], length - at[i + 1]);
        memset(stream + at[i + 1], 0, bytes);
        record.length += (uint32_t)bytes;
        memcpy(stream + at[i], &record, sizeof(record));
        return size + bytes;
    }
    memcpy(stream + at[i], &record, sizeof(record));
    return size;
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
        fix_up(p, length, 1 + data[0] / 2 % (LU_STREAM_VERSION + 1)); /* one too new as well */
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
