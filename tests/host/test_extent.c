/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extents: adding, finding, leaves.
 */
#include "hv/extent.h"

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

static struct extent_map map;
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
    extent_map_init(&map);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    extent_map_free(&map);
    assert_int_equal(map.nr, 0);
    assert_int_equal(pool_used(), pages_at_start);
    return 0;
}

static int add(uint64_t gfn, uint64_t mfn, unsigned int order)
{
    return extent_map_add(&map, gfn_from(gfn), mfn_from(mfn), order, 0x77);
}

static void test_add__table__expected_result(void **state)
{
    (void)state;
    static const struct {
        uint64_t gfn;
        uint64_t mfn;
        unsigned int order;
        int rc;
    } rows[] = {
        {0x400, 0x200, 9, 0},
        {0x400, 0x800, 9, -EEXIST},
        {0x5ff, 0x800, 0, -EEXIST},
        {0x600, 0x800, 0, 0},
        {0x3ff, 0x801, 0, 0},
        {0x3ff, 0x802, 0, -EEXIST},
        {0, 0x40000, 18, -EEXIST},
        {0, 0x1000, 9, 0},
        {0x200, 0x2000, 9, -EEXIST}, /* 0x3ff is in it */
        {0x200, 0x2000, 8, 0},
        {0x701, 0x800, 1, -EINVAL},
        {0x700, 0x801, 1, -EINVAL},
        {0x40000, 0x40000, 19, -EINVAL},
        {0x40000, 0x40000, ~0U, -EINVAL},
        {UINT64_MAX, 0, 0, -EINVAL},
        {0, UINT64_MAX, 0, -EINVAL},
        {BIT(40), 0, 0, -EINVAL},
        {BIT(40) - 1, BIT(40) - 1, 0, 0},
        {BIT(40) - BIT(18), BIT(40) - BIT(18), 18, -EEXIST},
    };
    uint64_t frames = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(add(rows[i].gfn, rows[i].mfn, rows[i].order), rows[i].rc);
        frames += rows[i].rc == 0 ? BIT(rows[i].order) : 0;
    }
    assert_int_equal(extent_map_frames(&map), frames);
    for (size_t i = 1; i < map.nr; i++) {
        assert_true(map.items[i - 1].gfn.v + BIT(map.items[i - 1].order) <= map.items[i].gfn.v);
    }
    assert_int_equal(extent_map_find(&map, gfn_from(0x5ff))->mfn.v, 0x200);
    assert_int_equal(extent_map_find(&map, gfn_from(0x5ff))->flags, 0x77);
    assert_null(extent_map_find(&map, gfn_from(0x300)));
    assert_null(extent_map_find(&map, gfn_from(0x601)));
    assert_null(extent_map_find(&map, gfn_from(UINT64_MAX)));
}

static void test_find__empty_map__null(void **state)
{
    (void)state;
    mfn_t mfn = mfn_from(42);

    assert_null(extent_map_find(&map, gfn_from(0)));
    assert_int_equal(extent_map_leaf(&map, gfn_from(0), ORDER_1G, &mfn), -ENOENT);
    assert_int_equal(mfn.v, 42);
    assert_int_equal(extent_map_frames(&map), 0);
}

static void test_leaf__4k_2m_1g__largest_that_fits(void **state)
{
    (void)state;
    static const struct {
        uint64_t gfn;
        unsigned int max_order;
        int order;
        uint64_t mfn;
    } rows[] = {
        /* a 1 GiB extent: gfn 0x40000 at mfn 0xc0000 */
        {0x40000, ORDER_1G, ORDER_1G, 0xc0000},
        {0x7ffff, ORDER_1G, ORDER_1G, 0xc0000},
        {0x7ffff, ORDER_2M, ORDER_2M, 0xffe00},
        {0x7ffff, ORDER_4K, ORDER_4K, 0xfffff},
        {0x40201, 17, ORDER_2M, 0xc0200},
        /* 4 MiB: gfn 0x800 at mfn 0x80400 */
        {0x800, ORDER_1G, ORDER_2M, 0x80400},
        {0xbff, ORDER_1G, ORDER_2M, 0x80600},
        {0xbff, 8, ORDER_4K, 0x807ff},
        /* 2 MiB: gfn 0x200 at mfn 0x1000 */
        {0x2ff, ORDER_2M, ORDER_2M, 0x1000},
        /* 1 MiB: gfn 0x100 at mfn 0x5100 */
        {0x100, ORDER_1G, ORDER_4K, 0x5100},
        {0x1ff, ORDER_1G, ORDER_4K, 0x51ff},
        /* one page: gfn 5 at mfn 0x9999 */
        {5, ORDER_1G, ORDER_4K, 0x9999},
        {6, ORDER_1G, -ENOENT, 0},
        {0xc00, ORDER_1G, -ENOENT, 0},
        {0x80000, ORDER_1G, -ENOENT, 0},
    };
    assert_int_equal(add(0x40000, 0xc0000, 18), 0);
    assert_int_equal(add(0x800, 0x80400, 10), 0);
    assert_int_equal(add(0x200, 0x1000, 9), 0);
    assert_int_equal(add(0x100, 0x5100, 8), 0);
    assert_int_equal(add(5, 0x9999, 0), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        mfn_t mfn = mfn_from(0);

        if (extent_map_leaf(&map, gfn_from(rows[i].gfn), rows[i].max_order, &mfn) !=
                rows[i].order ||
            mfn.v != rows[i].mfn) {
            fail_msg("gfn 0x%llx, max order %u: mfn 0x%llx", (unsigned long long)rows[i].gfn,
                     rows[i].max_order, (unsigned long long)mfn.v);
        }
    }
}

static void test_add__20000_in_random_order__all_found(void **state)
{
    (void)state;
    enum { EXTENTS = 20000 };

    for (uint64_t i = 0; i < EXTENTS; i++) {
        uint64_t at = i * 7919 % EXTENTS; /* a permutation */

        assert_int_equal(add(at * 4, at * 2, 1), 0);
    }
    assert_int_equal(map.nr, EXTENTS);
    assert_int_equal(extent_map_frames(&map), 2 * EXTENTS);
    for (uint64_t gfn = 0; gfn < 4 * EXTENTS; gfn++) {
        const struct extent *e = extent_map_find(&map, gfn_from(gfn));

        assert_int_equal(e != NULL, gfn % 4 < 2);
        if (e != NULL) {
            assert_int_equal(e->mfn.v, gfn / 4 * 2);
        }
    }
}

static void test_reserve__then_add__cannot_fail(void **state)
{
    (void)state;
    assert_int_equal(extent_map_reserve(&map, 5000), 0);
    fake_fail_alloc_after(0);
    for (uint64_t i = 0; i < 5000; i++) {
        assert_int_equal(add(i, i, 0), 0);
    }
    assert_false(fake_fail_hit());
    assert_int_equal(add(9999, 1, 0), -ENOMEM);
    assert_int_equal(map.nr, 5000);
    assert_int_equal(extent_map_reserve(&map, 6000), -ENOMEM);
    assert_int_equal(extent_map_reserve(&map, SIZE_MAX), -ENOMEM);
    assert_int_equal(extent_map_reserve(&map, 10), 0);
    fake_fail_alloc_after(-1);
    assert_int_equal(add(9999, 1, 0), 0);
    assert_int_equal(extent_map_find(&map, gfn_from(4999))->mfn.v, 4999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_add__table__expected_result, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find__empty_map__null, setup, teardown),
        cmocka_unit_test_setup_teardown(test_leaf__4k_2m_1g__largest_that_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add__20000_in_random_order__all_found, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_reserve__then_add__cannot_fail, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
