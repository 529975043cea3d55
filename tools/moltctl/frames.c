/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frame numbers: the kernel's pagemap (its Documentation/admin-guide/mm/pagemap.rst), and runs of
 * frames that stand side by side.
 */
#include "frames.h"

#include <stdlib.h>

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME ((UINT64_C(1) << 55) - 1)

size_t pages_for(uint64_t bytes)
{
    return (size_t)(bytes / PAGE_BYTES + (bytes % PAGE_BYTES != 0 ? 1 : 0));
}

bool frame_from_pagemap(uint64_t word, uint64_t *frame)
{
    if (!(word & PAGEMAP_PRESENT) || (word & PAGEMAP_FRAME) == 0) {
        return false;
    }
    *frame = word & PAGEMAP_FRAME;
    return true;
}

struct numbered {
    uint64_t frame;
    size_t index;
};

static int by_frame(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;

    return (x->frame > y->frame) - (x->frame < y->frame);
}

bool frames_find_run(const uint64_t *frames, size_t n, size_t want, size_t *run)
{
    struct numbered *sorted;
    size_t length = 0, at = 0;

    if (want == 0 || want > n) {
        return false;
    }
    sorted = calloc(n, sizeof(*sorted));
    if (sorted == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = (struct numbered){frames[i], i};
    }
    qsort(sorted, n, sizeof(*sorted), by_frame);
    while (at < n && length < want) {
        length = length != 0 && sorted[at].frame == sorted[at - 1].frame + 1 ? length + 1 : 1;
        at++;
    }
    for (size_t i = 0; length == want && i < want; i++) {
        run[i] = sorted[at - want + i].index;
    }
    free(sorted);
    return length == want;
}
