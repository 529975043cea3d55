/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output of a guest for readers: a ring that runs over.
 *
 * Host test: tests/host/test_output.c
 * Invariant: first <= total, and total - first <= OUTPUT_BYTES.
 */
#include "hv/output.h"

#include "hv/slab.h"
#include "hv/string.h"

void output_put(struct output *o, uint8_t byte)
{
    if (o->bytes == NULL) {
        o->bytes = kzalloc(OUTPUT_BYTES);
        if (o->bytes == NULL) {
            o->total++;
            o->first = o->total;
            return;
        }
    }
    o->bytes[o->total++ % OUTPUT_BYTES] = byte;
    if (o->total - o->first > OUTPUT_BYTES) {
        o->first = o->total - OUTPUT_BYTES;
    }
}

size_t output_get(const struct output *o, uint64_t *at, size_t max, struct output_piece pieces[2])
{
    size_t n, from, head;

    *at = MAX(*at, o->first);
    pieces[0] = pieces[1] = (struct output_piece){NULL, 0};
    if (*at >= o->total) {
        return 0;
    }
    n = (size_t)MIN(o->total - *at, (uint64_t)max);
    from = *at % OUTPUT_BYTES;
    head = MIN(n, OUTPUT_BYTES - from);
    pieces[0] = (struct output_piece){o->bytes + from, head};
    pieces[1] = (struct output_piece){o->bytes, n - head};
    return n;
}

void output_restore(struct output *o, const uint8_t *bytes, size_t len, uint64_t total)
{
    size_t from, head;

    o->total = total;
    o->first = total;
    if (len == 0) {
        return;
    }
    o->bytes = kzalloc(OUTPUT_BYTES);
    if (o->bytes == NULL) {
        return;
    }
    o->first = total - len;
    from = o->first % OUTPUT_BYTES;
    head = MIN(len, OUTPUT_BYTES - from);
    memcpy(o->bytes + from, bytes, head);
    memcpy(o->bytes, bytes + head, len - head);
}

void output_free(struct output *o)
{
    kfree(o->bytes);
    o->bytes = NULL;
    o->first = o->total;
}
