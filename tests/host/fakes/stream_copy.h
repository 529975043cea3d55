/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream taken apart into its records, to be changed and put together again with a right
 * checksum.
 */
#ifndef FAKES_STREAM_COPY_H
#define FAKES_STREAM_COPY_H

#include <stdlib.h>
#include <string.h>

#include "hv/crc32c.h"
#include "hv/stream.h"

#define COPY_RECORDS_MAX 128U

struct copy_record {
    uint32_t type;
    size_t length;
    uint8_t *data;
};

struct stream_copy {
    uint32_t version;
    size_t nr;
    struct copy_record records[COPY_RECORDS_MAX];
};

static inline void *copy_alloc(size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* A record before index `at`. */
static inline struct copy_record *copy_insert(struct stream_copy *c, size_t at, uint32_t type,
                                              const void *data, size_t length)
{
    struct copy_record r = {type, length, copy_alloc(length)};

    if (c->nr == COPY_RECORDS_MAX || at > c->nr) {
        abort();
    }
    if (length > 0) {
        memcpy(r.data, data, length);
    }
    memmove(&c->records[at + 1], &c->records[at], (c->nr - at) * sizeof(r));
    c->records[at] = r;
    c->nr++;
    return &c->records[at];
}

static inline void copy_remove(struct stream_copy *c, size_t at)
{
    free(c->records[at].data);
    c->nr--;
    memmove(&c->records[at], &c->records[at + 1], (c->nr - at) * sizeof(c->records[0]));
}

static inline void copy_resize(struct copy_record *r, size_t length)
{
    uint8_t *data = copy_alloc(length);

    memcpy(data, r->data, length < r->length ? length : r->length);
    free(r->data);
    r->data = data;
    r->length = length;
}

static inline void copy_free(struct stream_copy *c)
{
    while (c->nr > 0) {
        copy_remove(c, c->nr - 1);
    }
}

/* Index of the nth record of a type (from 0); aborts when there is none. */
static inline size_t copy_find(const struct stream_copy *c, uint32_t type, size_t nth)
{
    for (size_t i = 0; i < c->nr; i++) {
        if (c->records[i].type == type && nth-- == 0) {
            return i;
        }
    }
    abort();
}

/* Its payload. */
static inline void *copy_at(const struct stream_copy *c, uint32_t type, size_t nth)
{
    return c->records[copy_find(c, type, nth)].data;
}

static inline void copy_take(struct stream_copy *c, struct stream_reader *r)
{
    struct stream_item item;

    c->nr = 0;
    c->version = r->version;
    stream_rewind(r);
    while (stream_next(r, &item) == 1) {
        copy_insert(c, c->nr, item.type, item.data, item.length);
    }
    stream_rewind(r);
}

/* A whole stream in page-aligned memory that the caller frees; *length: of whole pages. */
static inline uint8_t *copy_build(const struct stream_copy *c, size_t *length)
{
    struct lu_stream_header header = {.magic = LU_STREAM_MAGIC, .version = c->version};
    struct lu_record end_record = {LU_REC_END, sizeof(struct lu_rec_end)};
    struct lu_rec_end end = {.reserved = 0};
    size_t bytes = sizeof(header) + sizeof(end_record) + sizeof(end), at = sizeof(header);
    void *p = NULL;
    uint8_t *data;

    for (size_t i = 0; i < c->nr; i++) {
        bytes += sizeof(struct lu_record) + align_up(c->records[i].length, 8);
    }
    *length = align_up(bytes, PAGE_SIZE);
    if (posix_memalign(&p, PAGE_SIZE, *length) != 0) {
        abort();
    }
    data = p;
    memset(data, 0, *length);
    memcpy(data, &header, sizeof(header));
    for (size_t i = 0; i < c->nr; i++) {
        const struct copy_record *r = &c->records[i];
        struct lu_record record = {r->type, (uint32_t)r->length};

        memcpy(data + at, &record, sizeof(record));
        if (r->length > 0) {
            memcpy(data + at + sizeof(record), r->data, r->length);
        }
        at += sizeof(record) + align_up(r->length, 8);
    }
    end.crc = crc32c(0, data, at);
    memcpy(data + at, &end_record, sizeof(end_record));
    memcpy(data + at + sizeof(end_record), &end, sizeof(end));
    return data;
}

/* A copy of its own. */
static inline struct stream_copy copy_of(const struct stream_copy *from)
{
    struct stream_copy c = {.version = from->version};

    for (size_t i = 0; i < from->nr; i++) {
        copy_insert(&c, i, from->records[i].type, from->records[i].data, from->records[i].length);
    }
    return c;
}

/*
 * A table of things that are wrong with a stream: CHANGES is a list of X(name, change, text), where
 * change is a statement about `struct stream_copy *c`. Defines do_NAME() for each, and changes[].
 */
#define COPY_DEFINE(name, change, text)          \
    static void do_##name(struct stream_copy *c) \
    {                                            \
        change;                                  \
    }
#define COPY_ROW(name, change, text) {#name, do_##name, text},
#define COPY_CHANGES(list)                      \
    list(COPY_DEFINE) static const struct {     \
        const char *name;                       \
        void (*change)(struct stream_copy * c); \
        const char *why;                        \
    } changes[] = {list(COPY_ROW)}

#endif
