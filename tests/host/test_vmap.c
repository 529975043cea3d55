/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmap: areas against a model, mapping, guards, large and many areas, failures.
 */
#include "hv/vmap.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mm_boot.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define REGION MIB(8)
#define REGION_END MIB(24)

static uint64_t pages_at_start;

static int setup(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    fake_machine_reset();
    fake_machine_add_ram(0, MIB(128));
    assert_int_equal(fake_mm_boot(REGION, REGION_END, REGION + PAGE_SIZE, REGION + MIB(8)), 0);
    fake_mm_open();
    pages_at_start = pool_used();
    return 0;
}

/* Everything is free again: no page used, and vmap space is of one piece. */
static int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    assert_int_equal(pool_used(), pages_at_start);
    assert_int_equal(fake_vmap_mapped(), 0);
    void *all = vmap_reserve(vmap_pages() - 1);
    assert_int_equal((uintptr_t)all, vmap_base());
    assert_null(vmap_reserve(1));
    vunmap(all);
    return 0;
}

static void test_reserve__bad_sizes__null(void **state)
{
    (void)state;
    assert_null(vmap_reserve(0));
    assert_null(vmap_reserve(vmap_pages()));
    assert_null(vmap_reserve(SIZE_MAX));
    assert_null(vmap_reserve(SIZE_MAX - 1));
    assert_null(vmalloc(0));
    assert_null(vmalloc(SIZE_MAX));
    vunmap(NULL);
    vfree(NULL);
}

static void test_set_get__scattered_frames__contiguous_and_aliased(void **state)
{
    (void)state;
    static const uint64_t frames[] = {0x7000, 0x3000, 0x7001, 0x10};
    unsigned char *area = vmap_reserve(6);

    assert_non_null(area);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(vmap_set(area, i, mfn_from(frames[i])), 0);
        assert_int_equal(vmap_get(area, i).v, frames[i]);
    }
    memset(area, 0x11, 4 * PAGE_SIZE);
    memset(area + 2 * PAGE_SIZE - 100, 0x77, 200);
    const unsigned char *page = mfn_to_va(mfn_from(0x3000));
    assert_int_equal(page[PAGE_SIZE - 100], 0x77);
    page = mfn_to_va(mfn_from(0x7001));
    assert_int_equal(page[99], 0x77);
    assert_int_equal(page[100], 0x11);
    assert_false(mfn_valid(vmap_get(area, 4)));
    assert_int_equal(fake_vmap_mapped(), 4);
    vunmap(area);
    /* The frames are still whose they were. */
    assert_int_equal(page[100], 0x11);
}

static void test_set__misuse__panics(void **state)
{
    volatile int rc = 0;
    void *volatile area = vmap_reserve(4);
    assert_true(FAKE_PANICS(rc = vmap_set(area, 4, mfn_from(1))));
    setup(state);
    area = vmap_reserve(4);
    assert_int_equal(vmap_set(area, 1, mfn_from(1)), 0);
    assert_true(FAKE_PANICS(rc = vmap_set(area, 1, mfn_from(2))));
    setup(state);
    area = vmap_reserve(4);
    assert_true(FAKE_PANICS(vunmap((char *)area + PAGE_SIZE)));
    setup(state);
    area = vmap_reserve(4);
    vunmap(area);
    assert_true(FAKE_PANICS(vunmap(area)));
    assert_int_equal(rc, 0);
    setup(state);
}

static void test_set__no_page_for_a_table__enomem(void **state)
{
    (void)state;
    void *area = vmap_reserve(4);

    assert_int_equal(vmap_set(area, 0, mfn_from(1)), 0);
    fake_vmap_fail_after(0);
    assert_int_equal(vmap_set(area, 1, mfn_from(2)), -ENOMEM);
    assert_null(vmalloc(PAGE_SIZE));
    fake_vmap_fail_after(2);
    assert_null(vmalloc(4 * PAGE_SIZE));
    fake_vmap_fail_after(-1);
    assert_false(mfn_valid(vmap_get(area, 1)));
    vunmap(area);
}

static void test_vmalloc__sizes__zeroed_pages_and_all_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4095, 4096, 4097, 100000, MIB(3) + 5};
    void *areas[ARRAY_SIZE(sizes)];

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        unsigned char *p = vmalloc(sizes[i]);

        assert_non_null(p);
        for (size_t b = 0; b < sizes[i]; b += 97) {
            assert_int_equal(p[b], 0);
        }
        memset(p, 0xff, sizes[i]);
        areas[i] = p;
    }
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        vfree(areas[i]);
    }
}

static void test_vmalloc__each_allocation_fails_once__null_and_no_leak(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        fake_fail_alloc_after(n);
        void *p = vmalloc(5 * PAGE_SIZE);
        bool failed = fake_fail_hit();
        fake_fail_alloc_after(-1);
        assert_int_equal(p == NULL, failed);
        vfree(p);
        assert_int_equal(pool_used(), pages_at_start);
        assert_int_equal(fake_vmap_mapped(), 0);
        if (!failed) {
            assert_true(n >= 6);
            break;
        }
    }
}

static void test_vmalloc__until_memory_is_out__null_then_all_back(void **state)
{
    (void)state;
    void *held[64];
    size_t nr = 0;

    while ((held[nr] = vmalloc(MIB(4))) != NULL) {
        nr++;
    }
    assert_in_range(nr, 25, 31);
    while (nr > 0) {
        vfree(held[--nr]);
    }
}

struct held {
    uintptr_t va;
    size_t pages;
};

/* No two areas overlap, guards included, and none leaves vmap space. */
static void check_disjoint(const struct held *held, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        assert_true(held[i].va >= vmap_base());
        assert_true(held[i].va + (held[i].pages + 1) * PAGE_SIZE <=
                    vmap_base() + vmap_pages() * PAGE_SIZE);
        for (size_t j = i + 1; j < nr; j++) {
            assert_false(ranges_overlap(held[i].va, held[i].va + (held[i].pages + 1) * PAGE_SIZE,
                                        held[j].va, held[j].va + (held[j].pages + 1) * PAGE_SIZE));
        }
    }
}

/* Lowest place for `pages` and a guard beside the held areas. */
static uintptr_t model_first_fit(const struct held *held, size_t nr, size_t pages)
{
    uintptr_t at = vmap_base();

    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < nr; i++) {
            uintptr_t end = held[i].va + (held[i].pages + 1) * PAGE_SIZE;

            if (ranges_overlap(at, at + (pages + 1) * PAGE_SIZE, held[i].va, end)) {
                at = end;
                moved = true;
            }
        }
    }
    return at;
}

static void test_reserve_vunmap__random_traces__first_fit_as_in_model(void **state)
{
    (void)state;
    struct held held[100];

    for (unsigned int seed = 0; seed < 10; seed++) {
        size_t nr = 0;

        fake_random_seed(seed);
        for (unsigned int i = 0; i < 1000; i++) {
            if (random_u64() % 2 == 0 && nr < ARRAY_SIZE(held)) {
                held[nr].pages = 1 + random_u64() % 20;
                uintptr_t want = model_first_fit(held, nr, held[nr].pages);
                held[nr].va = (uintptr_t)vmap_reserve(held[nr].pages);
                assert_int_equal(held[nr].va, want);
                nr++;
            } else if (nr > 0) {
                size_t at = random_u64() % nr;

                vunmap((void *)held[at].va);
                held[at] = held[--nr];
            }
        }
        check_disjoint(held, nr);
        while (nr > 0) {
            vunmap((void *)held[--nr].va);
        }
        assert_int_equal(pool_used(), pages_at_start);
    }
}

static void test_reserve__10000_areas__all_there(void **state)
{
    (void)state;
    enum { AREAS = 10000 };
    static void *areas[AREAS];

    for (size_t i = 0; i < AREAS; i++) {
        areas[i] = vmap_reserve(1 + i % 7);
        assert_non_null(areas[i]);
    }
    /* Every other one goes; the holes of the right size are found again, lowest first. */
    for (size_t i = 0; i < AREAS; i += 2) {
        vunmap(areas[i]);
    }
    void *again = vmap_reserve(7);
    assert_ptr_equal(again, areas[6]);
    vunmap(again);
    for (size_t i = 1; i < AREAS; i += 2) {
        vunmap(areas[i]);
    }
}

static void test_reserve__million_pages__costs_nothing_until_mapped(void **state)
{
    (void)state;
    size_t pages = 1000000;
    char *area = vmap_reserve(pages);
    char *second = vmap_reserve(pages);

    assert_non_null(area);
    assert_non_null(second);
    for (size_t i = 0; i < 2000; i++) {
        assert_int_equal(vmap_set(area, pages - 1 - i * 400, mfn_from(i)), 0);
    }
    assert_int_equal(vmap_get(area, pages - 1).v, 0);
    assert_int_equal(vmap_get(area, pages - 401).v, 1);
    vunmap(area);
    assert_int_equal(fake_vmap_mapped(), 0);
    vunmap(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reserve__bad_sizes__null, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set_get__scattered_frames__contiguous_and_aliased,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_set__misuse__panics, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set__no_page_for_a_table__enomem, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vmalloc__sizes__zeroed_pages_and_all_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_vmalloc__each_allocation_fails_once__null_and_no_leak,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_vmalloc__until_memory_is_out__null_then_all_back,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserve_vunmap__random_traces__first_fit_as_in_model,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserve__10000_areas__all_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reserve__million_pages__costs_nothing_until_mapped,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
