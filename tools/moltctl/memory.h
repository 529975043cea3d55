/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that molt may read and write: pages that stay in their frames, and the frames' numbers.
 */
#ifndef MOLTCTL_MEMORY_H
#define MOLTCTL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pages {
    unsigned char *data; /* zeroed, side by side for this program only */
    uint64_t *frames;    /* guest frame number of each page */
    size_t nr;
    int *pins; /* pipes that hold references */
    size_t nr_pins;
};

/* All of these end the program when they cannot do it. */
void pages_get(struct pages *p, size_t nr);
void pages_put(struct pages *p);

/* False when a page is in another frame than it was: whatever molt read or wrote is not ours. */
bool pages_hold(const struct pages *p);

/* A whole file in pages. */
uint64_t pages_read_file(struct pages *p, const char *path);

/*
 * The list of frame numbers of `of`, in consecutive frames as molt wants it: returns its
 * guest-physical address. `list` holds it.
 */
uint64_t pages_list(struct pages *list, const struct pages *of);

#endif
