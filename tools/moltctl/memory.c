/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages with known frames.
 *
 * molt is given guest-physical addresses, so a page must stay in its frame from the look at
 * /proc/self/pagemap to the end of the call. mlock() does not promise that: it keeps a page in
 * memory, yet compaction moves locked pages (vm.compact_unevictable_allowed is 1 by default). What
 * no kernel moves is a page with a reference it cannot account for, and vmsplice() takes such
 * references: for as long as a pipe holds a page, migration finds one reference too many and leaves
 * it alone (tests/linux/pin.c shows both). Unlike the sysctl that changes nothing for anybody else,
 * and it ends with this process however that ends. pages_hold() looks again behind each call whose
 * pages molt has read.
 */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "frames.h"
#include "moltctl.h"

#define PIN_PAGES 256U       /* in one pipe: what /proc/sys/fs/pipe-max-size lets everyone have */
#define LIST_POOL_MAX 65536U /* pages among which a run for a list is looked for */

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (p == NULL) {
        fail(EXIT_REFUSED, 0, "out of memory");
    }
    return p;
}

/* References to pages [at, at + n), held by a pipe; its descriptor. */
static int pin(const struct pages *p, size_t at, size_t n)
{
    struct iovec range = {p->data + at * PAGE_BYTES, n * PAGE_BYTES};
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0 ||
        fcntl(ends[1], F_SETPIPE_SZ, (int)(PIN_PAGES * PAGE_BYTES)) < 0) {
        fail(EXIT_REFUSED, 0, "cannot pin memory: %s", strerror(errno));
    }
    while (range.iov_len > 0) {
        ssize_t done = vmsplice(ends[1], &range, 1, SPLICE_F_NONBLOCK);

        if (done <= 0) {
            fail(EXIT_REFUSED, 0, "cannot pin memory: %s", strerror(errno));
        }
        range.iov_base = (unsigned char *)range.iov_base + done;
        range.iov_len -= (size_t)done;
    }
    close(ends[1]);
    return ends[0];
}

/* Frame numbers as they are now. False when one is not known. */
static bool look(const struct pages *p, uint64_t *frames)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    size_t bytes = p->nr * sizeof(frames[0]);
    off_t at = (off_t)((uintptr_t)p->data / PAGE_BYTES * sizeof(frames[0]));
    bool good = fd >= 0;

    for (size_t done = 0; good && done < bytes;) {
        ssize_t n = pread(fd, (char *)frames + done, bytes - done, at + (off_t)done);

        good = n > 0;
        done += good ? (size_t)n : 0;
    }
    for (size_t i = 0; good && i < p->nr; i++) {
        good = frame_from_pagemap(frames[i], &frames[i]);
    }
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

void pages_get(struct pages *p, size_t nr)
{
    *p = (struct pages){.nr = nr, .nr_pins = (nr + PIN_PAGES - 1) / PIN_PAGES};
    p->data = mmap(NULL, nr * PAGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    if (p->data == MAP_FAILED) {
        fail(EXIT_REFUSED, 0, "cannot have %zu KiB of locked memory: %s", nr * (PAGE_BYTES >> 10),
             strerror(errno));
    }
    p->frames = allocate(nr, sizeof(p->frames[0]));
    p->pins = allocate(p->nr_pins, sizeof(p->pins[0]));
    for (size_t i = 0; i < p->nr_pins; i++) {
        size_t at = i * PIN_PAGES;

        p->pins[i] = pin(p, at, nr - at < PIN_PAGES ? nr - at : PIN_PAGES);
    }
    if (!look(p, p->frames)) {
        fail(EXIT_PLACE, 0, "cannot see where memory is (/proc/self/pagemap): is this root?");
    }
}

void pages_put(struct pages *p)
{
    for (size_t i = 0; i < p->nr_pins; i++) {
        close(p->pins[i]);
    }
    free(p->pins);
    free(p->frames);
    (void)munmap(p->data, p->nr * PAGE_BYTES);
    *p = (struct pages){.data = NULL};
}

bool pages_hold(const struct pages *p)
{
    uint64_t *now = allocate(p->nr, sizeof(now[0]));
    bool same = look(p, now) && memcmp(now, p->frames, p->nr * sizeof(now[0])) == 0;

    free(now);
    return same;
}

uint64_t pages_read_file(struct pages *p, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    size_t bytes = 0;

    if (fd < 0 || fstat(fd, &st) != 0) {
        fail(EXIT_REFUSED, 0, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode) || st.st_size <= 0) {
        fail(EXIT_REFUSED, 0, "%s: %s", path, S_ISREG(st.st_mode) ? "empty" : "not a file");
    }
    pages_get(p, pages_for((uint64_t)st.st_size));
    while (bytes < (size_t)st.st_size) {
        ssize_t n = read(fd, p->data + bytes, (size_t)st.st_size - bytes);

        if (n <= 0) {
            fail(EXIT_REFUSED, 0, "%s: %s", path, n == 0 ? "is shorter now" : strerror(errno));
        }
        bytes += (size_t)n;
    }
    close(fd);
    return bytes;
}

/* A list of 512 entries is in one frame. A longer one needs frames side by side, which nobody can
 * ask the kernel for: so pages are taken until some of them happen to be. Fresh memory comes in
 * blocks, so the first attempt mostly does. */
uint64_t pages_list(struct pages *list, const struct pages *of)
{
    const size_t each = PAGE_BYTES / sizeof(uint64_t);
    size_t want = (of->nr + each - 1) / each;
    size_t *run = allocate(want, sizeof(run[0]));
    uint64_t address;

    for (size_t pool = want == 1 ? 1 : 4 * want;; pool *= 4) {
        pages_get(list, pool);
        if (frames_find_run(list->frames, pool, want, run)) {
            break;
        }
        pages_put(list);
        if (pool > LIST_POOL_MAX) {
            fail(EXIT_REFUSED, 0, "no %zu frames of memory side by side", want);
        }
    }
    for (size_t i = 0; i < of->nr; i++) {
        memcpy(list->data + run[i / each] * PAGE_BYTES + i % each * sizeof(uint64_t),
               &of->frames[i], sizeof(uint64_t));
    }
    address = list->frames[run[0]] * PAGE_BYTES;
    free(run);
    return address;
}
