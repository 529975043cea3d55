/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes multiboot2 information blocks for tests, also wrong ones.
 */
#ifndef FAKES_MB2_BLOCK_H
#define FAKES_MB2_BLOCK_H

#include <stdlib.h>
#include <string.h>

#include "hv/mb2.h"

struct mb2_block {
    uint8_t bytes[65536];
    size_t used;
};

static inline void block_put(struct mb2_block *b, const void *data, size_t n)
{
    if (n > sizeof(b->bytes) - b->used) {
        abort();
    }
    memcpy(b->bytes + b->used, data, n);
    b->used += n;
}

static inline void block_u32(struct mb2_block *b, uint32_t v)
{
    block_put(b, &v, sizeof(v));
}

static inline void block_u64(struct mb2_block *b, uint64_t v)
{
    block_put(b, &v, sizeof(v));
}

static inline void block_pad(struct mb2_block *b)
{
    while (b->used % 8 != 0) {
        block_put(b, "", 1);
    }
}

static inline void block_begin(struct mb2_block *b)
{
    b->used = 0;
    block_u64(b, 0);
}

static inline void block_tag(struct mb2_block *b, uint32_t type, const void *data, size_t n)
{
    block_u32(b, type);
    block_u32(b, (uint32_t)(8 + n));
    block_put(b, data, n);
    block_pad(b);
}

static inline void block_string(struct mb2_block *b, uint32_t type, const char *text)
{
    block_tag(b, type, text, strlen(text) + 1);
}

static inline void block_module(struct mb2_block *b, uint32_t start, uint32_t end, const char *text)
{
    block_u32(b, 3);
    block_u32(b, (uint32_t)(16 + strlen(text) + 1));
    block_u32(b, start);
    block_u32(b, end);
    block_put(b, text, strlen(text) + 1);
    block_pad(b);
}

/* `extra`: bytes per entry beyond the usual 24. Lengths, not ends, as in the block. */
static inline void block_mmap(struct mb2_block *b, const struct e820_range *ranges, size_t nr,
                              size_t extra)
{
    block_u32(b, 6);
    block_u32(b, (uint32_t)(16 + nr * (24 + extra)));
    block_u32(b, (uint32_t)(24 + extra));
    block_u32(b, 0);
    for (size_t i = 0; i < nr; i++) {
        block_u64(b, ranges[i].start);
        block_u64(b, ranges[i].end - ranges[i].start);
        block_u32(b, ranges[i].type);
        block_u32(b, 0);
        for (size_t e = 0; e < extra; e++) {
            block_put(b, "\xee", 1);
        }
    }
    block_pad(b);
}

static inline void block_set_total(struct mb2_block *b, size_t total)
{
    uint32_t v = (uint32_t)total;

    memcpy(b->bytes, &v, sizeof(v));
}

static inline void block_end(struct mb2_block *b)
{
    block_u32(b, 0);
    block_u32(b, 8);
    block_set_total(b, b->used);
}

/* The first n bytes in memory of exactly that size, for ASan; the caller frees it. */
static inline uint8_t *block_copy(const struct mb2_block *b, size_t n)
{
    uint8_t *p = malloc(n > 0 ? n : 1);

    if (p == NULL) {
        abort();
    }
    memcpy(p, b->bytes, n);
    return p;
}

#endif
