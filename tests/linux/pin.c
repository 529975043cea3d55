/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do moltctl's pages stay in their frames while the kernel compacts memory?
 *
 * Memory is filled page by page with what can be let go again, pages that are only locked and pages
 * of pages_get(), in turns. Then the first kind is given back, so that what is left stands
 * scattered, and the kernel is told to compact. Locked pages move (else the test shows nothing);
 * those of pages_get() must not. Prints "pin: locked moved=N pinned moved=N of=N".
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frames.h"
#include "memory.h"
#include "moltctl.h"

#define SETS 300   /* each with a page of either kind: a pipe is a descriptor */
#define FILLERS 40 /* pages that are let go, for each of them */
#define ROUNDS 3

struct options options;

void fail(int code, int64_t result, const char *fmt, ...)
{
    va_list args;

    (void)result;
    va_start(args, fmt);
    fputs("pin: ", stdout);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    exit(code);
}

static unsigned char *get(size_t pages, int flags)
{
    unsigned char *p = mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | flags, -1, 0);

    if (p == MAP_FAILED) {
        fail(EXIT_REFUSED, 0, "out of memory");
    }
    memset(p, 0x5a, pages * PAGE_BYTES);
    return p;
}

static uint64_t frame_of(int pagemap, const void *page)
{
    uint64_t word = 0, frame = 0;

    if (pread(pagemap, &word, sizeof(word), (off_t)((uintptr_t)page / PAGE_BYTES * sizeof(word))) !=
            sizeof(word) ||
        !frame_from_pagemap(word, &frame)) {
        fail(EXIT_REFUSED, 0, "a page has no frame");
    }
    return frame;
}

static void compact(void)
{
    int fd = open("/proc/sys/vm/compact_memory", O_WRONLY);

    if (fd < 0 || write(fd, "1", 1) != 1) {
        fail(EXIT_REFUSED, 0, "cannot compact memory");
    }
    close(fd);
}

int main(void)
{
    static struct pages pinned[SETS];
    static unsigned char *locked[SETS], *filler[SETS];
    static uint64_t locked_at[SETS];
    int pagemap = open("/proc/self/pagemap", O_RDONLY);
    unsigned int locked_moved = 0, pinned_moved = 0;

    for (unsigned int i = 0; i < SETS; i++) {
        filler[i] = get(FILLERS, 0);
        locked[i] = get(1, MAP_LOCKED);
        pages_get(&pinned[i], 1);
        locked_at[i] = frame_of(pagemap, locked[i]);
    }
    for (unsigned int i = 0; i < SETS; i++) {
        munmap(filler[i], FILLERS * PAGE_BYTES);
    }
    for (unsigned int i = 0; i < ROUNDS; i++) {
        compact();
    }
    for (unsigned int i = 0; i < SETS; i++) {
        locked_moved += frame_of(pagemap, locked[i]) != locked_at[i];
        pinned_moved += !pages_hold(&pinned[i]);
        pages_put(&pinned[i]);
    }
    printf("pin: locked moved=%u pinned moved=%u of=%u\n", locked_moved, pinned_moved, SETS);
    return pinned_moved != 0;
}
