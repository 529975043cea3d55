/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest wrote to COM1, for readers (HC_CONSOLE_READ): the last bytes, by their positions
 * since the domain was created.
 */
#ifndef HV_OUTPUT_H
#define HV_OUTPUT_H

#include "hv/compiler.h"
#include "hv/types.h"

#define OUTPUT_BYTES 16384U /* kept; a power of two */

struct output {
    LAYOUT(uint8_t *bytes; /* ring; NULL until the first byte */
           , uint64_t first; /* position of the first byte kept */
           uint64_t total;)  /* behind the last one */
};

/* One piece of the ring, oldest byte first; there may be a second one. */
struct output_piece {
    const uint8_t *bytes;
    size_t len;
};

/* Adds a byte. Without memory for the ring it is counted and not kept. */
void output_put(struct output *o, uint8_t byte);

/* What is kept from *at on, at most `max` bytes; *at moves up to the first position kept. Returns
 * the bytes in both pieces. */
size_t output_get(const struct output *o, uint64_t *at, size_t max, struct output_piece pieces[2]);

/* The last `len` of `total` bytes, from the previous image; nothing is there yet. Without memory
 * they are lost. */
void output_restore(struct output *o, const uint8_t *bytes, size_t len, uint64_t total);

void output_free(struct output *o);

#endif
