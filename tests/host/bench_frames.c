/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs, on the processor that runs this, to give a guest's memory to its owner again in
 * the next image: the real mm/ and lu/, built as molt is and not sanitized. For tools/bench.
 *
 * Prints one line for each shape of a guest's memory, the fastest of some rounds:
 *   rebuild NAME extents=N frames=N stream_bytes=N check_ns=N apply_ns=N
 * check: the stream is checked and every frame claimed. apply: domains and their extents are made.
 * And what the same memory, or the records about it, cost to be filled or copied:
 *   bytes NAME count=N memset_ns=N memcpy_ns=N
 */
#include "../../lu/lu_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/memory.h"
#include "hv/seam.h"

#define ROUNDS 9U
#define LOW_RAM GIB(8)
#define RAM GIB(4)
#define ID 1U
#define SMALL_EXTENTS 32768U
#define LARGE_EXTENTS 1024U

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_frames: %s\n", what);
        exit(1);
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static int by_mfn(const void *a, const void *b)
{
    const mfn_t *x = a, *y = b;

    return x->v < y->v ? -1 : x->v > y->v;
}

/* Blocks of one order, in the order of their addresses or in none. */
static void fill_blocks(mfn_t *blocks, size_t nr, unsigned int order, bool scattered)
{
    for (size_t i = 0; i < nr; i++) {
        blocks[i] = buddy_alloc(order, FRAME_GUEST, ID);
        must(mfn_valid(blocks[i]), "too little memory for the guest");
    }
    qsort(blocks, nr, sizeof(*blocks), by_mfn);
    for (size_t i = nr - 1; scattered && i > 0; i--) {
        size_t other = random_u64() % (i + 1);
        mfn_t block = blocks[i];

        blocks[i] = blocks[other];
        blocks[other] = block;
    }
}

static void make_guest(size_t nr, unsigned int order, bool scattered)
{
    struct domain *d = domain_create("guest", ID, false);
    mfn_t *blocks = calloc(nr, sizeof(*blocks));

    must(d != NULL && blocks != NULL, "no domain");
    fill_blocks(blocks, nr, order, scattered);
    must(extent_map_reserve(&d->extents, nr) == 0, "no room for extents");
    for (size_t i = 0; i < nr; i++) {
        must(extent_map_add(&d->extents, gfn_from(i << order), blocks[i], order, 0) == 0,
             "an extent cannot be added");
    }
    d->memory_bytes = nr << (order + PAGE_SHIFT);
    d->state = DOMAIN_STOPPED; /* so it needs no vCPU */
    domain_generation++;
    free(blocks);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void rebuild(const char *name, size_t nr, unsigned int order, bool scattered)
{
    uint64_t check_ns = UINT64_MAX, apply_ns = UINT64_MAX;
    size_t length;
    uint8_t *stream;

    world_reset();
    fake_machine_add_ram(LOW_RAM, LOW_RAM + RAM);
    world_boot(0, false);
    make_guest(nr, order, scattered);
    stream = world_stream(&length);
    for (unsigned int round = 0; round < ROUNDS; round++) {
        struct stream_reader reader;
        const char *why = "";
        uint64_t start, checked, end;

        world_boot_closed(1, false);
        must(stream_open(&reader, stream, length, &why) == 0, why);
        start = now_ns();
        must(restore_check(&reader, &adopt_keeper, &why) == 0, why);
        checked = now_ns();
        restore_host(&reader);
        must(restore_apply(&reader, &why) == 0, why);
        end = now_ns();
        check_ns = min_u64(check_ns, checked - start);
        apply_ns = min_u64(apply_ns, end - checked);
    }
    must(frametable_count(FRAME_GUEST) == nr << order, "frames are missing");
    printf("rebuild %s extents=%zu frames=%zu stream_bytes=%zu check_ns=%llu apply_ns=%llu\n", name,
           nr, nr << order, length, (unsigned long long)check_ns, (unsigned long long)apply_ns);
    free(stream);
}

static void bytes(const char *name, size_t count, size_t each)
{
    size_t nr = count * each;
    uint64_t set_ns = UINT64_MAX, copy_ns = UINT64_MAX;
    uint8_t *from = malloc(nr), *to = malloc(nr);

    must(from != NULL && to != NULL, "no memory to copy");
    for (unsigned int round = 0; round < ROUNDS; round++) {
        uint64_t start = now_ns(), set, copied;

        memset(from, (int)round, nr);
        set = now_ns();
        memcpy(to, from, nr);
        copied = now_ns();
        must(to[random_u64() % nr] == round, "memcpy does not copy");
        set_ns = min_u64(set_ns, set - start);
        copy_ns = min_u64(copy_ns, copied - set);
    }
    printf("bytes %s count=%zu memset_ns=%llu memcpy_ns=%llu\n", name, count,
           (unsigned long long)set_ns, (unsigned long long)copy_ns);
    free(from);
    free(to);
}

int main(void)
{
    rebuild("2m", LARGE_EXTENTS, ORDER_2M, false);
    rebuild("4k", SMALL_EXTENTS, ORDER_4K, false);
    rebuild("4k-scattered", SMALL_EXTENTS, ORDER_4K, true);
    bytes("memory", SMALL_EXTENTS, PAGE_SIZE);
    bytes("records", SMALL_EXTENTS, sizeof(struct lu_extent));
    return 0;
}
