/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot allocator and image pool: alignment, bad frames, zeroing, hand-over to the heap.
 */
#include "hv/boot_alloc.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mm_boot.h"
#include "hv/seam.h"

#define ARENA MIB(16)
#define ARENA_END MIB(18)
#define ARENA_PAGES ((ARENA_END - ARENA) / PAGE_SIZE)

static paddr_t bad_frames[8];
static size_t nr_bad;

static paddr_t bad_listed(paddr_t start, paddr_t end)
{
    paddr_t behind = 0;

    for (size_t i = 0; i < nr_bad; i++) {
        if (ranges_overlap(bad_frames[i], bad_frames[i] + PAGE_SIZE, start, end)) {
            behind = MAX(behind, bad_frames[i] + PAGE_SIZE);
        }
    }
    return behind;
}

/* The arena alone, with garbage in it; what is around it faults. */
static int setup(void **state)
{
    (void)state;
    fake_machine_reset();
    fake_machine_add_ram(ARENA, ARENA_END);
    memset(fake_va(ARENA), 0xa5, ARENA_END - ARENA);
    nr_bad = 0;
    return 0;
}

static paddr_t pa_of(const void *p)
{
    return (paddr_t)((const char *)p - (const char *)fake_va(0));
}

static bool all_zero(const void *p, size_t bytes)
{
    const char *c = p;

    for (size_t i = 0; i < bytes; i++) {
        if (c[i] != 0) {
            return false;
        }
    }
    return true;
}

static void test_boot_alloc__sizes_and_alignments__aligned_zeroed_disjoint(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        size_t align;
    } rows[] = {{1, 1}, {100, 8}, {3, 2}, {4096, 4096}, {64, 64}, {70000, 4096}, {16, 65536}};
    paddr_t last_end = ARENA + 0x123;

    boot_alloc_init(ARENA + 0x123, ARENA_END, false, bad_listed);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        void *p = boot_alloc(rows[i].bytes, rows[i].align);

        assert_non_null(p);
        assert_true(pa_of(p) >= last_end);
        assert_true(is_aligned(pa_of(p), rows[i].align));
        assert_true(all_zero(p, rows[i].bytes));
        memset(p, 0xff, rows[i].bytes);
        last_end = pa_of(p) + rows[i].bytes;
    }
}

static void test_boot_alloc__too_large__null_and_nothing_lost(void **state)
{
    (void)state;
    boot_alloc_init(ARENA, ARENA_END, false, bad_listed);
    uint64_t left = boot_alloc_left();
    assert_int_equal(left, ARENA_END - ARENA);
    assert_null(boot_alloc(ARENA_END - ARENA + 1, 1));
    assert_null(boot_alloc(SIZE_MAX, 1));
    assert_null(boot_alloc(1, BIT(63)));
    assert_null(boot_alloc(0, 1));
    assert_int_equal(boot_alloc_left(), left);
    assert_non_null(boot_alloc(ARENA_END - ARENA, 4096));
    assert_null(boot_alloc(1, 1));
    assert_int_equal(boot_alloc_left(), 0);
}

static void test_boot_alloc__zeroed_arena__not_touched(void **state)
{
    (void)state;
    boot_alloc_init(ARENA, ARENA_END, true, bad_listed);
    const char *p = boot_alloc(MIB(1), 4096);
    assert_non_null(p);
    assert_int_equal((unsigned char)p[4096], 0xa5);
}

static void test_boot_alloc__bad_frames__stepped_over_and_kept_out_of_pool(void **state)
{
    (void)state;
    bad_frames[0] = ARENA + 0x5000;
    bad_frames[1] = ARENA + 0x7000;
    bad_frames[2] = ARENA + 0x40000;
    bad_frames[3] = ARENA;
    bad_frames[4] = ARENA_END - PAGE_SIZE;
    nr_bad = 5;
    for (size_t i = 0; i < nr_bad; i++) {
        fake_machine_hide(bad_frames[i], bad_frames[i] + PAGE_SIZE);
    }
    boot_alloc_init(ARENA, ARENA_END, false, bad_listed);
    void *small = boot_alloc(0x3000, 64);
    assert_int_equal(pa_of(small), ARENA + 0x1000);
    void *large = boot_alloc(0x30000, 4096);
    assert_int_equal(pa_of(large), ARENA + 0x8000);
    large = boot_alloc(0x10000, 4096);
    assert_int_equal(pa_of(large), ARENA + 0x41000);
    boot_alloc_finish();

    /* Everything else comes out of the pool, once, and never a bad frame. */
    bool seen[ARENA_PAGES] = {false};
    size_t pages = 0;
    for (char *page; (page = pool_alloc_arena()) != NULL; pages++) {
        size_t index = (pa_of(page) - ARENA) / PAGE_SIZE;

        assert_false(seen[index]);
        assert_int_equal(bad_listed(pa_of(page), pa_of(page) + PAGE_SIZE), 0);
        seen[index] = true;
        memset(page, 0xff, PAGE_SIZE);
    }
    assert_int_equal(pages, ARENA_PAGES - 5 - (0x3000 + 0x30000 + 0x10000) / PAGE_SIZE);
    for (size_t i = 0; i < nr_bad; i++) {
        fake_machine_show(bad_frames[i], bad_frames[i] + PAGE_SIZE);
    }
}

static void test_boot_alloc__after_finish__panics(void **state)
{
    (void)state;
    boot_alloc_init(ARENA, ARENA_END, false, bad_listed);
    boot_alloc_finish();
    assert_true(FAKE_PANICS(boot_alloc(16, 16)));
}

static void test_pool_alloc__before_finish__page_from_boot_alloc(void **state)
{
    (void)state;
    boot_alloc_init(ARENA, ARENA_END, false, bad_listed);
    assert_non_null(boot_alloc(100, 8));
    void *page = pool_alloc();
    assert_int_equal(pa_of(page), ARENA + PAGE_SIZE);
    assert_true(all_zero(page, PAGE_SIZE));
    assert_int_equal(pool_used(), 1);
    assert_int_equal(pa_of(boot_alloc(8, 8)), ARENA + 2 * PAGE_SIZE);
    pool_free(page);
    assert_int_equal(pool_used(), 0);
}

static void test_pool__random_trace__zeroed_disjoint_no_leak(void **state)
{
    (void)state;
    for (unsigned int seed = 0; seed < 20; seed++) {
        void *held[ARENA_PAGES];
        size_t nr = 0;

        fake_random_seed(seed);
        boot_alloc_init(ARENA, ARENA_END, false, bad_listed);
        assert_non_null(boot_alloc(1000, 64));
        boot_alloc_finish();
        uint64_t start = boot_alloc_left() / PAGE_SIZE;
        for (unsigned int i = 0; i < 3000; i++) {
            if (random_u64() % 5 < (i % 1000 < 600 ? 3U : 2U)) {
                uint64_t *page = pool_alloc_arena();

                if (page == NULL) {
                    assert_int_equal(boot_alloc_left() / PAGE_SIZE, 0);
                    continue;
                }
                assert_true(page[0] == 0 && page[1] == 0 && page[511] == 0);
                page[0] = (uint64_t)(uintptr_t)page;
                page[511] = seed + 1;
                held[nr++] = page;
            } else if (nr > 0) {
                size_t at = random_u64() % nr;

                assert_int_equal(*(uint64_t *)held[at], (uint64_t)(uintptr_t)held[at]);
                assert_true(pool_free_arena(held[at]));
                held[at] = held[--nr];
            }
            assert_int_equal(boot_alloc_left() / PAGE_SIZE, start - nr);
        }
        while (nr > 0) {
            assert_true(pool_free_arena(held[--nr]));
        }
        assert_int_equal(boot_alloc_left() / PAGE_SIZE, start);
    }
}

static void test_pool_free__misuse__panics(void **state)
{
    (void)state;
    boot_alloc_init(ARENA, ARENA_END, false, bad_listed);
    char *page = pool_alloc();
    assert_true(FAKE_PANICS(pool_free(page + 8)));
    assert_true(FAKE_PANICS(pool_free(NULL)));
    /* The first page that was never handed out. */
    assert_true(FAKE_PANICS(pool_free(page + PAGE_SIZE)));
}

/* An arena of 64 KiB in 8 MiB of RAM. */
static void test_pool_alloc__arena_empty__heap_once_it_opens(void **state)
{
    (void)state;
    fake_machine_reset();
    fake_machine_add_ram(0, MIB(8));
    memset(fake_va(0), 0xa5, MIB(8));
    assert_int_equal(fake_mm_boot(MIB(2), MIB(4), MIB(2), MIB(2) + KIB(64)), 0);

    while (pool_alloc() != NULL) {
    }
    assert_int_equal(boot_alloc_left(), 0);
    uint64_t from_arena = pool_used();
    assert_int_equal(frametable_count(FRAME_IMAGE), 0);

    /* Nobody but buddy_open_step() may start the opening: claims could be missing. */
    assert_int_equal(frametable_count(FRAME_NONE), MIB(6) / PAGE_SIZE);
    assert_false(buddy_open_step(1));
    void *page = pool_alloc();
    assert_non_null(page);
    assert_true(all_zero(page, PAGE_SIZE));
    assert_true(pa_of(page) < MIB(2) || pa_of(page) >= MIB(4));
    assert_int_equal(frametable_get(va_to_mfn(page)).state, FRAME_IMAGE);
    assert_int_equal(pool_used(), from_arena + 1);

    /* All of the heap, then all of it back. */
    void **held = malloc(2048 * sizeof(void *));
    size_t nr = 0;
    for (void *p; (p = pool_alloc()) != NULL;) {
        held[nr++] = p;
    }
    assert_true(buddy_opened());
    assert_int_equal(buddy_free_frames(), 0);
    assert_int_equal(frametable_count(FRAME_IMAGE), MIB(6) / PAGE_SIZE);
    while (nr > 0) {
        pool_free(held[--nr]);
    }
    pool_free(page);
    free(held);
    assert_int_equal(pool_used(), from_arena);
    assert_int_equal(buddy_free_frames(), MIB(6) / PAGE_SIZE);
    assert_int_equal(frametable_count(FRAME_IMAGE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_boot_alloc__sizes_and_alignments__aligned_zeroed_disjoint,
                               setup),
        cmocka_unit_test_setup(test_boot_alloc__too_large__null_and_nothing_lost, setup),
        cmocka_unit_test_setup(test_boot_alloc__zeroed_arena__not_touched, setup),
        cmocka_unit_test_setup(test_boot_alloc__bad_frames__stepped_over_and_kept_out_of_pool,
                               setup),
        cmocka_unit_test_setup(test_boot_alloc__after_finish__panics, setup),
        cmocka_unit_test_setup(test_pool_alloc__before_finish__page_from_boot_alloc, setup),
        cmocka_unit_test_setup(test_pool__random_trace__zeroed_disjoint_no_leak, setup),
        cmocka_unit_test_setup(test_pool_free__misuse__panics, setup),
        cmocka_unit_test_setup(test_pool_alloc__arena_empty__heap_once_it_opens, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
