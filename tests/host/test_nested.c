/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Extended page tables: leaves of every size, replacing, splitting, what a CPU sees meanwhile, all
 * tables given back, failures.
 */
#include "../../vmx/vmx_priv.h"
#include "hv/nested.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mm_boot.h"
#include "hv/errno.h"
#include "hv/extent.h"
#include "hv/seam.h"
#include "hw/vmx.h"

#define REGION MIB(8)
#define REGION_END MIB(24)
#define GFN_LIMIT BIT(36)
#define PER_TABLE 512U

static struct nested ept;
static uint64_t pages_at_start;
static unsigned int invalidations;

/* Pages in use when the entry changed: nothing that was reachable may have been freed before. */
static uint64_t pages_at_invalidate;

static void count_invalidate(const struct nested *e)
{
    assert_ptr_equal(e, &ept);
    invalidations++;
    pages_at_invalidate = pool_used();
}

static void start(unsigned int max_order, nested_invalidate_fn invalidate)
{
    pages_at_start = pool_used();
    invalidations = 0;
    assert_int_equal(nested_init(&ept, max_order, EPT_MEMTYPE_WB, invalidate), 0);
}

static void finish(void)
{
    nested_fini(&ept);
    assert_int_equal(ept.tables, 0);
    assert_int_equal(pool_used(), pages_at_start);
}

static int setup(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    fake_machine_reset();
    fake_machine_add_ram(0, MIB(64));
    assert_int_equal(fake_mm_boot(REGION, REGION_END, REGION + PAGE_SIZE, REGION + MIB(8)), 0);
    fake_mm_open();
    return 0;
}

static int map(uint64_t gfn, uint64_t mfn, unsigned int order)
{
    return nested_map(&ept, gfn_from(gfn), mfn_from(mfn), order);
}

/* gfn is mapped to mfn by a leaf of this order. */
static void expect(uint64_t gfn, uint64_t mfn, unsigned int order)
{
    unsigned int found = 99;
    mfn_t m = nested_lookup(&ept, gfn_from(gfn), &found);

    assert_true(m.v == mfn);
    assert_int_equal(found, order);
}

static void expect_none(uint64_t gfn)
{
    unsigned int found = 99;

    assert_false(mfn_valid(nested_lookup(&ept, gfn_from(gfn), &found)));
    assert_int_equal(found, 99);
}

static void test_ept_map__each_order__maps_exactly_its_run(void **state)
{
    static const unsigned int orders[] = {ORDER_4K, ORDER_2M, ORDER_1G};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++) {
        uint64_t size = BIT(orders[i]);
        uint64_t gfn = 5 * BIT(ORDER_1G) + 3 * size;
        uint64_t mfn = 9 * BIT(ORDER_1G) + 7 * size;

        start(ORDER_1G, count_invalidate);
        assert_int_equal(map(gfn, mfn, orders[i]), 0);
        expect_none(gfn - 1);
        expect(gfn, mfn, orders[i]);
        expect(gfn + size - 1, mfn + size - 1, orders[i]);
        expect_none(gfn + size);
        assert_int_equal(ept.tables, 4 - i);
        assert_int_equal(invalidations, 0); /* nothing was present before */
        finish();
    }
}

static void test_ept_map__leaf__has_all_rights_and_write_back(void **state)
{
    (void)state;
    start(ORDER_1G, count_invalidate);
    assert_int_equal(map(0, BIT(ORDER_1G), ORDER_1G), 0);
    uint64_t *pdpt = mfn_to_va(pa_to_mfn(ept.root[0] & EPT_ADDR));
    assert_true(pdpt[0] == (GIB(1) | EPT_R | EPT_W | EPT_X | EPT_MEMTYPE_WB | EPT_LEAF));
    assert_true((ept.root[0] & ~EPT_ADDR) == (EPT_R | EPT_W | EPT_X));
    assert_int_equal(map(1, 77, ORDER_4K), 0);
    uint64_t *pd = mfn_to_va(pa_to_mfn(pdpt[0] & EPT_ADDR));
    uint64_t *pt = mfn_to_va(pa_to_mfn(pd[0] & EPT_ADDR));
    assert_true(pd[1] == ((GIB(1) + MIB(2)) | EPT_R | EPT_W | EPT_X | EPT_MEMTYPE_WB | EPT_LEAF));
    assert_true(pt[1] == (77 * PAGE_SIZE | EPT_R | EPT_W | EPT_X | EPT_MEMTYPE_WB));
    assert_true(nested_root_pa(&ept) == mfn_to_pa(va_to_mfn(ept.root)));
    finish();
}

static void test_ept_map__bad_arguments__refused(void **state)
{
    (void)state;
    start(ORDER_1G, count_invalidate);
    for (unsigned int order = 0; order < 64; order++) {
        if (order % 9 != 0 || order > ORDER_1G) {
            assert_int_equal(map(0, 0, order), -EINVAL);
        }
    }
    assert_int_equal(map(1, 0, ORDER_2M), -EINVAL);
    assert_int_equal(map(0, 1, ORDER_2M), -EINVAL);
    assert_int_equal(map(BIT(ORDER_2M), 0, ORDER_1G), -EINVAL);
    assert_int_equal(map(GFN_LIMIT, 0, ORDER_4K), -EINVAL);
    assert_int_equal(map(UINT64_MAX, 0, ORDER_4K), -EINVAL);
    assert_int_equal(map(0, BIT(40), ORDER_4K), -EINVAL);
    assert_int_equal(ept.tables, 1);
    expect_none(GFN_LIMIT);
    assert_int_equal(map(GFN_LIMIT - 1, BIT(40) - 1, ORDER_4K), 0);
    expect(GFN_LIMIT - 1, BIT(40) - 1, ORDER_4K);
    finish();
}

static void test_ept_map__same_order_again__replaces_and_invalidates(void **state)
{
    (void)state;
    start(ORDER_1G, count_invalidate);
    assert_int_equal(map(512, 1024, ORDER_2M), 0);
    assert_int_equal(map(512, 1024, ORDER_2M), 0);
    assert_int_equal(invalidations, 0); /* nothing changed */
    assert_int_equal(map(512, 2048, ORDER_2M), 0);
    assert_int_equal(invalidations, 1);
    expect(513, 2049, ORDER_2M);
    finish();
}

static void test_ept_map__small_into_large__splits_only_what_it_must(void **state)
{
    uint64_t gfn = 2 * BIT(ORDER_1G) + 5 * BIT(ORDER_2M) + 6;

    (void)state;
    start(ORDER_1G, count_invalidate);
    assert_int_equal(map(2 * BIT(ORDER_1G), 4 * BIT(ORDER_1G), ORDER_1G), 0);
    assert_int_equal(map(gfn, 99, ORDER_4K), 0);
    expect(gfn, 99, ORDER_4K);
    for (uint64_t i = 0; i < BIT(ORDER_1G); i += 1 + i % 13) {
        uint64_t at = 2 * BIT(ORDER_1G) + i;
        bool split = at >> ORDER_2M == gfn >> ORDER_2M;

        if (at != gfn) {
            expect(at, 4 * BIT(ORDER_1G) + i, split ? ORDER_4K : ORDER_2M);
        }
    }
    assert_int_equal(ept.tables, 4);
    assert_int_equal(invalidations, 3); /* 1G to 2M, 2M to 4K, the leaf itself */
    finish();
}

static void test_ept_map__large_over_small__frees_tables_after_invalidate(void **state)
{
    uint64_t full;

    (void)state;
    start(ORDER_1G, count_invalidate);
    for (uint64_t i = 0; i < BIT(ORDER_1G); i += BIT(ORDER_2M)) {
        assert_int_equal(map(i + 3, i + 5, ORDER_4K), 0);
    }
    assert_int_equal(ept.tables, 3 + PER_TABLE);
    full = pool_used();
    assert_int_equal(map(0, BIT(ORDER_1G), ORDER_1G), 0);
    assert_int_equal(invalidations, 1);
    assert_int_equal(pages_at_invalidate, full);
    assert_int_equal(ept.tables, 2);
    expect(3, BIT(ORDER_1G) + 3, ORDER_1G);
    finish();
}

static void test_ept_map__order_above_limit__becomes_smaller_leaves(void **state)
{
    (void)state;
    start(ORDER_2M, count_invalidate);
    assert_int_equal(map(BIT(ORDER_1G), 3 * BIT(ORDER_1G), ORDER_1G), 0);
    expect(BIT(ORDER_1G), 3 * BIT(ORDER_1G), ORDER_2M);
    expect(2 * BIT(ORDER_1G) - 1, 4 * BIT(ORDER_1G) - 1, ORDER_2M);
    assert_int_equal(ept.tables, 3);
    finish();

    start(ORDER_4K, count_invalidate);
    assert_int_equal(map(BIT(ORDER_1G), 3 * BIT(ORDER_1G), ORDER_1G), 0);
    expect(BIT(ORDER_1G) + 7, 3 * BIT(ORDER_1G) + 7, ORDER_4K);
    expect(2 * BIT(ORDER_1G) - 1, 4 * BIT(ORDER_1G) - 1, ORDER_4K);
    assert_int_equal(ept.tables, 3 + PER_TABLE);
    assert_int_equal(map(BIT(ORDER_1G), 0, ORDER_2M), 0);
    expect(BIT(ORDER_1G) + 7, 7, ORDER_4K);
    assert_int_equal(ept.tables, 3 + PER_TABLE);
    finish();
}

static void test_ept_clear__mappings_of_all_kinds__all_gone_tables_freed_late(void **state)
{
    uint64_t full;

    (void)state;
    start(ORDER_1G, count_invalidate);
    nested_clear(&ept);
    assert_int_equal(invalidations, 0);
    assert_int_equal(map(0, 0, ORDER_4K), 0);
    assert_int_equal(map(BIT(ORDER_1G), 0, ORDER_1G), 0);
    assert_int_equal(map(BIT(30), 512, ORDER_2M), 0);
    assert_int_equal(map(GFN_LIMIT - 1, 12, ORDER_4K), 0);
    full = pool_used();
    nested_clear(&ept);
    assert_int_equal(invalidations, 1);
    assert_int_equal(pages_at_invalidate, full);
    assert_int_equal(ept.tables, 1);
    for (unsigned int i = 0; i < PER_TABLE; i++) {
        assert_true(ept.root[i] == 0);
    }
    expect_none(0);
    assert_int_equal(map(0, 5, ORDER_4K), 0); /* and it fills again */
    expect(0, 5, ORDER_4K);
    finish();
}

static void test_ept_map__extents__leaves_of_extent_map_leaf(void **state)
{
    static const struct {
        uint64_t gfn, mfn;
        unsigned int order;
    } extents[] = {
        {0, 0x40000, 18},     {0x40000, 0x1000, 12}, {0x41000, 0x2400, 10},
        {0x41400, 0x3000, 8}, {0x41500, 0x7, 0},     {0x80000, 0x200000, 18},
    };
    static const unsigned int limits[] = {ORDER_4K, ORDER_2M, ORDER_1G};
    struct extent_map em;

    (void)state;
    extent_map_init(&em);
    for (size_t i = 0; i < ARRAY_SIZE(extents); i++) {
        assert_int_equal(extent_map_add(&em, gfn_from(extents[i].gfn), mfn_from(extents[i].mfn),
                                        extents[i].order, 0),
                         0);
    }
    for (size_t l = 0; l < ARRAY_SIZE(limits); l++) {
        start(limits[l], count_invalidate);
        for (uint64_t gfn = 0; gfn < 0xc0000; gfn += 0xfb) {
            const struct extent *e = extent_map_find(&em, gfn_from(gfn));
            unsigned int found;
            mfn_t mfn;
            int order = extent_map_leaf(&em, gfn_from(gfn), limits[l], &mfn);

            assert_int_equal(order >= 0, e != NULL);
            if (e == NULL) {
                continue;
            }
            if (!mfn_valid(nested_lookup(&ept, gfn_from(gfn), &found))) {
                assert_int_equal(map(align_down(gfn, BIT(order)), mfn.v, (unsigned int)order), 0);
            }
            expect(gfn, e->mfn.v + gfn - e->gfn.v, (unsigned int)order);
        }
        assert_int_equal(invalidations, 0); /* leaves inside extents never meet */
        finish();
    }
    extent_map_free(&em);
}

static void test_ept_map__out_of_memory__translations_as_before(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        start(ORDER_2M, count_invalidate);
        assert_int_equal(map(0, 512, ORDER_2M), 0);
        assert_int_equal(map(BIT(ORDER_1G) + 1, 17, ORDER_4K), 0);
        fake_fail_alloc_after(n);
        int split = map(3, 5, ORDER_4K);
        int build = map(BIT(ORDER_1G), 0, ORDER_1G);
        int fresh = map(BIT(30), 9, ORDER_4K);
        bool hit = fake_fail_hit();
        fake_fail_alloc_after(-1);
        assert_true(split == 0 || split == -ENOMEM);
        expect(4, 516, split == 0 ? ORDER_4K : ORDER_2M);
        expect(3, split == 0 ? 5 : 515, split == 0 ? ORDER_4K : ORDER_2M);
        expect(BIT(ORDER_1G) + 1, build == 0 ? 1 : 17, build == 0 ? ORDER_2M : ORDER_4K);
        if (fresh != 0) {
            assert_int_equal(fresh, -ENOMEM);
            expect_none(BIT(30));
        }
        finish();
        if (!hit) {
            assert_int_equal(split | build | fresh, 0);
            break;
        }
    }
    /* In the middle of two levels of tables: what was built so far goes back. */
    for (long n = 0; n < 1 + (long)PER_TABLE; n += 73) {
        start(ORDER_4K, count_invalidate);
        assert_int_equal(map(7, 9, ORDER_4K), 0);
        fake_fail_alloc_after(n);
        assert_int_equal(map(0, 0, ORDER_1G), -ENOMEM);
        fake_fail_alloc_after(-1);
        assert_int_equal(ept.tables, 4);
        expect(7, 9, ORDER_4K);
        finish();
    }
    fake_fail_alloc_after(0);
    assert_int_equal(nested_init(&ept, ORDER_1G, EPT_MEMTYPE_WB, count_invalidate), -ENOMEM);
    fake_fail_alloc_after(-1);
    assert_int_equal(pool_used(), pages_at_start);
}

static void test_ept_map__random__as_the_model_says(void **state)
{
    enum { OPS = 400 };
    static struct {
        uint64_t gfn, mfn;
        unsigned int order;
    } ops[OPS];

    (void)state;
    for (unsigned int seed = 1; seed <= 10; seed++) {
        fake_random_seed(seed);
        start(seed % 2 ? ORDER_1G : ORDER_2M, count_invalidate);
        for (unsigned int n = 0; n < OPS; n++) {
            unsigned int order = (unsigned int)(random_u64() % 8);

            ops[n].order = order == 0 ? ORDER_1G : order < 4 ? ORDER_2M : ORDER_4K;
            ops[n].gfn = align_down(random_u64() % (4 * BIT(ORDER_1G)), BIT(ops[n].order));
            ops[n].mfn = align_down(random_u64() % BIT(40), BIT(ops[n].order));
            if (ops[n].order == ORDER_4K && n > 0) {
                /* near the last one, so that runs overlap */
                ops[n].gfn = ops[n - 1].gfn + random_u64() % 8;
            }
            assert_int_equal(map(ops[n].gfn, ops[n].mfn, ops[n].order), 0);
        }
        for (unsigned int probe = 0; probe < 3 * OPS; probe++) {
            unsigned int at = probe / 3;
            uint64_t offset = probe % 3 == 0   ? 0
                              : probe % 3 == 1 ? BIT(ops[at].order) - 1
                                               : random_u64() % BIT(ops[at].order);
            uint64_t gfn = ops[at].gfn + offset;
            unsigned int found;
            unsigned int last = OPS;

            while (last > 0 && gfn - ops[last - 1].gfn >= BIT(ops[last - 1].order)) {
                last--;
            }
            assert_true(last > at);
            assert_true(nested_lookup(&ept, gfn_from(gfn), &found).v ==
                        ops[last - 1].mfn + gfn - ops[last - 1].gfn);
        }
        finish();
    }
}

/*
 * A second thread walks the tables all the time, as a CPU in the guest does: it must see the old or
 * the new translation of a gfn, whatever map() is doing. invalidate() waits until the walk that is
 * under way has ended, as INVEPT on that CPU does.
 */
#define WALKED (2 * BIT(ORDER_2M))

static uint64_t walks;
static bool walker_stop;
static uint64_t bad_walks;
/* Every translation that the test makes adds a multiple of this to the gfn, in [1, NR_BASES]. */
#define BASE BIT(ORDER_1G)
#define NR_BASES 7U

static void *walk(void *unused)
{
    (void)unused;
    for (uint64_t gfn = 0; !__atomic_load_n(&walker_stop, __ATOMIC_ACQUIRE); gfn += 37) {
        unsigned int order;
        uint64_t at = gfn % WALKED;
        uint64_t mfn = nested_lookup(&ept, gfn_from(at), &order).v;

        if (mfn % BASE != at || mfn / BASE < 1 || mfn / BASE > NR_BASES) {
            bad_walks++;
        }
        __atomic_fetch_add(&walks, 1, __ATOMIC_ACQ_REL);
    }
    return NULL;
}

static void wait_for_walker(const struct nested *e)
{
    uint64_t seen = __atomic_load_n(&walks, __ATOMIC_ACQUIRE);

    (void)e;
    invalidations++;
    while (__atomic_load_n(&walks, __ATOMIC_ACQUIRE) < seen + 2) {
    }
}

static void test_ept_map__while_a_cpu_walks__old_or_new_translation(void **state)
{
    pthread_t walker;

    (void)state;
    fake_random_seed(3);
    walks = bad_walks = 0;
    walker_stop = false;
    start(ORDER_1G, wait_for_walker);
    assert_int_equal(map(0, BASE, ORDER_1G), 0);
    assert_int_equal(pthread_create(&walker, NULL, walk, NULL), 0);
    for (unsigned int i = 0; i < 3000; i++) {
        static const unsigned int orders[] = {ORDER_4K, ORDER_4K, ORDER_2M, ORDER_1G};
        unsigned int order = orders[random_u64() % ARRAY_SIZE(orders)];
        uint64_t gfn = align_down(random_u64() % WALKED, BIT(order));

        assert_int_equal(map(gfn, (1 + random_u64() % NR_BASES) * BASE + gfn, order), 0);
    }
    __atomic_store_n(&walker_stop, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(walker, NULL), 0);
    assert_true(walks > 0 && invalidations > 0);
    assert_int_equal(bad_walks, 0);
    ept.invalidate = count_invalidate;
    finish();
}

static void test_vmx_leaf_order__capabilities__largest_leaf(void **state)
{
    (void)state;
    assert_int_equal(vmx_leaf_order(0), ORDER_4K);
    assert_int_equal(vmx_leaf_order(EPT_CAP_1G), ORDER_4K);
    assert_int_equal(vmx_leaf_order(EPT_CAP_2M), ORDER_2M);
    assert_int_equal(vmx_leaf_order(EPT_CAP_2M | EPT_CAP_1G), ORDER_1G);
}

/* ---- walking ---- */

struct shown {
    uint64_t tables, leaves, frames;
    uint64_t refuse; /* this table is not to be looked into */
};

static bool show_table(void *ctx, mfn_t mfn)
{
    struct shown *s = ctx;

    s->tables++;
    return mfn.v != s->refuse;
}

static void show_leaf(void *ctx, gfn_t gfn, mfn_t mfn, unsigned int order)
{
    struct shown *s = ctx;

    expect(gfn.v, mfn.v, order);
    s->leaves++;
    s->frames += BIT(order);
}

static void test_ept_walk__leaves_of_all_sizes__all_shown_once(void **state)
{
    struct shown s = {.refuse = 0};
    const struct hvm_walk walk = {show_table, show_leaf, &s};

    (void)state;
    start(ORDER_1G, count_invalidate);
    assert_int_equal(nested_walk(&ept, &walk), 1);
    assert_int_equal(s.tables, 1);
    assert_int_equal(map(0, 0x40, ORDER_4K), 0);
    assert_int_equal(map(511, 0x41, ORDER_4K), 0);
    assert_int_equal(map(512, 0x200, ORDER_2M), 0);
    assert_int_equal(map(BIT(ORDER_1G) * 3, BIT(ORDER_1G) * 5, ORDER_1G), 0);
    assert_int_equal(map(GFN_LIMIT - 1, 0x42, ORDER_4K), 0);
    s = (struct shown){.refuse = 0};
    assert_int_equal(nested_walk(&ept, &walk), ept.tables);
    assert_int_equal(s.tables, ept.tables);
    assert_int_equal(s.leaves, 5);
    assert_int_equal(s.frames, 3 + BIT(ORDER_2M) + BIT(ORDER_1G));
    /* What a table leads to is passed over with it. */
    uint64_t *below = mfn_to_va(pa_to_mfn(ept.root[0] & EPT_ADDR));
    s = (struct shown){.refuse = va_to_mfn(below).v};
    assert_int_equal(nested_walk(&ept, &walk), ept.tables);
    assert_int_equal(s.leaves, 1);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ept_map__each_order__maps_exactly_its_run, setup),
        cmocka_unit_test_setup(test_ept_map__leaf__has_all_rights_and_write_back, setup),
        cmocka_unit_test_setup(test_ept_map__bad_arguments__refused, setup),
        cmocka_unit_test_setup(test_ept_map__same_order_again__replaces_and_invalidates, setup),
        cmocka_unit_test_setup(test_ept_map__small_into_large__splits_only_what_it_must, setup),
        cmocka_unit_test_setup(test_ept_map__large_over_small__frees_tables_after_invalidate,
                               setup),
        cmocka_unit_test_setup(test_ept_map__order_above_limit__becomes_smaller_leaves, setup),
        cmocka_unit_test_setup(test_ept_clear__mappings_of_all_kinds__all_gone_tables_freed_late,
                               setup),
        cmocka_unit_test_setup(test_ept_map__extents__leaves_of_extent_map_leaf, setup),
        cmocka_unit_test_setup(test_ept_map__out_of_memory__translations_as_before, setup),
        cmocka_unit_test_setup(test_ept_map__random__as_the_model_says, setup),
        cmocka_unit_test_setup(test_ept_map__while_a_cpu_walks__old_or_new_translation, setup),
        cmocka_unit_test(test_vmx_leaf_order__capabilities__largest_leaf),
        cmocka_unit_test_setup(test_ept_walk__leaves_of_all_sizes__all_shown_once, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
