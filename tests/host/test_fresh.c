/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is zeroed when it is touched: against a model of its units, and through its users.
 */
#include "../../lu/lu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/seam.h"

#define UNITS 640U /* of the domain: 1280 MiB */
#define AHEAD 128U /* units that are zeroed ahead */
#define MEMORY (UNITS * MIB(2))
#define UNIT_FRAMES BIT(FRESH_UNIT_ORDER)

static unsigned int zeroed[UNITS]; /* how often, by unit */
static uint64_t zeroed_frames;
static struct domain *d;

/* In place of the weak one: counts, and clears a unit's first page only. */
void frames_zero(mfn_t mfn, uint64_t frames)
{
    zeroed_frames += frames;
    for (uint64_t i = 0; i < frames; i += UNIT_FRAMES) {
        for (size_t k = 0; d != NULL && k < d->extents.nr; k++) {
            const struct extent *e = &d->extents.items[k];

            if (mfn.v + i >= e->mfn.v && mfn.v + i < e->mfn.v + BIT(e->order)) {
                zeroed[(e->gfn.v + mfn.v + i - e->mfn.v) / UNIT_FRAMES]++;
            }
        }
        memset(mfn_to_va(mfn_from(mfn.v + i)), 0, PAGE_SIZE);
    }
}

static void forget(void)
{
    memset(zeroed, 0, sizeof(zeroed));
    zeroed_frames = 0;
}

static int setup(void **state)
{
    (void)state;
    world_reset_low();
    fake_machine_add_ram(GIB(8), GIB(10));
    world_boot(0, true);
    d = NULL;
    forget();
    d = domain_create("d", 1, false);
    assert_int_equal(domain_add_memory(d, MEMORY), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    while (domain_list != NULL) {
        domain_destroy(domain_list);
    }
    return 0;
}

static void assert_runs_good(void)
{
    const struct fresh *f = &d->fresh;
    size_t nr = 0;
    uint64_t end = 0;

    assert_true(f->nr_leaves <= f->capacity);
    for (size_t i = 0; i < f->nr_leaves; i++) {
        assert_true(f->leaves[i]->nr > 0 && f->leaves[i]->nr <= FRESH_LEAF_RUNS);
        for (size_t k = 0; k < f->leaves[i]->nr; k++) {
            const struct fresh_run *r = &f->leaves[i]->runs[k];

            assert_true(r->start < r->end);
            assert_true(is_aligned(r->start | r->end, UNIT_FRAMES));
            assert_true(nr == 0 || end < r->start);
            end = r->end;
            nr++;
        }
    }
    assert_int_equal(nr, f->nr);
}

static void test_clean__large_memory__beginning_zeroed_and_the_rest_fresh(void **state)
{
    (void)state;
    assert_int_equal(zeroed_frames, AHEAD * UNIT_FRAMES);
    for (unsigned int u = 0; u < UNITS; u++) {
        assert_int_equal(fresh_any(&d->fresh, u * UNIT_FRAMES, u * UNIT_FRAMES + 1), u >= AHEAD);
    }
    assert_int_equal(features_in_use() & LU_FEATURE_FRESH, LU_FEATURE_FRESH);
    assert_int_equal(fresh_touch(d, 0, MEMORY >> PAGE_SHIFT), 0);
    assert_int_equal(features_in_use() & LU_FEATURE_FRESH, 0);
    assert_int_equal(zeroed_frames, UNITS * UNIT_FRAMES);
}

static void test_memory_init__extent_order__caps_what_is_added(void **state)
{
    static const struct {
        const char *cmdline;
        size_t extents; /* of 4 MiB */
    } rows[] = {
        {"extent_order=0", 1024}, {"extent_order=3", 128}, {"x extent_order=9 y", 2},
        {"extent_order=18", 1},   {"extent_order=19", 1},  {"extent_order=-1", 1},
        {"extent_order=", 1},     {"", 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct domain *other = domain_create("other", 2, false);

        domain_memory_init(rows[i].cmdline);
        assert_int_equal(domain_add_memory(other, MIB(4)), 0);
        if (other->extents.nr != rows[i].extents) {
            fail_msg("%s: %zu extents", rows[i].cmdline, other->extents.nr);
        }
        domain_destroy(other);
    }
}

/* Of each 2 MiB that it has as a whole; nobody can say of a part that it is fresh. */
static void test_clean__small_extents__zeroed(void **state)
{
    struct domain *small;

    (void)state;
    d = NULL;
    domain_memory_init("extent_order=8");
    small = domain_create("small", 2, false);
    forget();
    assert_int_equal(domain_add_memory(small, MIB(260)), 0);
    domain_memory_init("");
    assert_int_equal(zeroed_frames, MIB(260) >> PAGE_SHIFT);
    assert_int_equal(small->fresh.nr, 0);
}

static void test_clean__no_memory_for_runs__zeroed(void **state)
{
    (void)state;
    domain_soil(d);
    forget();
    for (bool done = false; !done;) {
        fake_fail_alloc_after(0);
        done = domain_clean(d);
    }
    fake_fail_alloc_after(-1);
    assert_int_equal(zeroed_frames, UNITS * UNIT_FRAMES);
    assert_int_equal(d->fresh.nr, 0);
}

/* A payload that could not be loaded has left something everywhere. */
static void test_soil__some_touched__fresh_again(void **state)
{
    (void)state;
    assert_int_equal(fresh_touch(d, 300 * UNIT_FRAMES, 301 * UNIT_FRAMES), 0);
    domain_soil(d);
    while (!domain_clean(d)) {
    }
    assert_int_equal(d->fresh.nr, 1);
    assert_true(fresh_any(&d->fresh, 300 * UNIT_FRAMES, 300 * UNIT_FRAMES + 1));
}

static void test_touch__random_ranges__each_unit_zeroed_once(void **state)
{
    bool touched[UNITS] = {false};

    (void)state;
    forget();
    for (unsigned int i = 0; i < 1500; i++) {
        uint64_t start = random_u64() % (UNITS * UNIT_FRAMES);
        uint64_t end = start + 1 + random_u64() % (i % 50 == 0 ? 8 * UNIT_FRAMES : 2);

        end = MIN(end, UNITS * UNIT_FRAMES);
        assert_int_equal(fresh_touch(d, start, end), 0);
        assert_runs_good();
        for (uint64_t u = start / UNIT_FRAMES; u <= (end - 1) / UNIT_FRAMES; u++) {
            touched[u] = true;
        }
        for (unsigned int u = 0; u < UNITS; u++) {
            unsigned int want = u >= AHEAD && touched[u];

            if (zeroed[u] != want || fresh_any(&d->fresh, u * UNIT_FRAMES, (u + 1) * UNIT_FRAMES) ==
                                         (u < AHEAD || touched[u])) {
                fail_msg("unit %u: zeroed %u times, not %u", u, zeroed[u], want);
            }
        }
    }
}

static void test_touch__no_memory_to_split__fresh_as_before(void **state)
{
    uint64_t unit = AHEAD;

    (void)state;
    while (d->fresh.leaves[0]->nr < FRESH_LEAF_RUNS) {
        unit += 2;
        assert_int_equal(fresh_touch(d, unit * UNIT_FRAMES, unit * UNIT_FRAMES + 1), 0);
    }
    unit += 2;
    fake_fail_alloc_after(0);
    assert_int_equal(fresh_touch(d, unit * UNIT_FRAMES, unit * UNIT_FRAMES + 1), -ENOMEM);
    fake_fail_alloc_after(-1);
    assert_int_equal(zeroed[unit], 0);
    assert_true(fresh_any(&d->fresh, unit * UNIT_FRAMES, unit * UNIT_FRAMES + 1));
    assert_int_equal(fresh_touch(d, unit * UNIT_FRAMES, unit * UNIT_FRAMES + 1), 0);
}

/* What RAM holds is not shown to the domain, whichever way molt comes to it. */
static void test_access__fresh_memory__zeros_are_found(void **state)
{
    static const uint64_t zeros[8];
    uint64_t gpa = 400 * MIB(2), value = 1, words[8];
    const struct extent *e = extent_map_find(&d->extents, gfn_from(gpa >> PAGE_SHIFT));
    uint8_t *page = mfn_to_va(mfn_from(e->mfn.v + (gpa >> PAGE_SHIFT) - e->gfn.v));

    (void)state;
    memset(page, 0xa5, PAGE_SIZE);
    memset(page + MIB(2), 0xa5, PAGE_SIZE);
    memset(page + 2 * MIB(2), 0xa5, PAGE_SIZE);
    assert_int_equal(domain_read(d, gpa, words, sizeof(words)), 0);
    assert_memory_equal(words, zeros, sizeof(words));
    assert_int_equal(domain_write(d, gpa + MIB(2) + 8, &value, sizeof(value)), 0);
    assert_int_equal(domain_read(d, gpa + MIB(2), words, 8), 0);
    assert_int_equal(words[0], 0);
    assert_int_equal(domain_read_entry(d, gpa + 2 * MIB(2) + 16, 8, &value), 0);
    assert_int_equal(value, 0);
    assert_int_equal(zeroed[400] + zeroed[401] + zeroed[402], 3);
    assert_int_equal(zeroed[399] + zeroed[403], 0);
}

/* The units beside the one of the access stay out of nested tables. */
static void test_stage2__access__unit_mapped_and_zeroed(void **state)
{
    struct hvm_exit exit = {.reason = HVM_EXIT_STAGE2, .stage2 = {.access = STAGE2_WRITE}};
    struct vcpu_state s;
    struct vcpu *v;

    (void)state;
    world_random_state(&s);
    v = world_add_vcpu(d, &s);
    exit.stage2.gpa = 500 * MIB(2) + 12345;
    exit_handle(v, &exit);
    assert_int_equal(fake_hvm.map[0].order, ORDER_2M);
    assert_int_equal(fake_hvm.map[0].gfn, 500 * UNIT_FRAMES);
    assert_int_equal(zeroed[500], 1);
    assert_int_equal(fresh_touch(d, 0, MEMORY >> PAGE_SHIFT), 0);
    exit_handle(v, &exit);
    assert_int_equal(fake_hvm.map[1].order, ORDER_1G);
}

static void test_update__runs__the_same_in_the_next_image(void **state)
{
    struct stream_reader reader;
    struct fresh_run runs[3];
    const char *why = "";
    uint8_t *stream;
    size_t length;

    (void)state;
    assert_int_equal(fresh_touch(d, 200 * UNIT_FRAMES, 210 * UNIT_FRAMES), 0);
    assert_int_equal(fresh_touch(d, 300 * UNIT_FRAMES, 300 * UNIT_FRAMES + 1), 0);
    assert_int_equal(d->fresh.nr, 3);
    memcpy(runs, d->fresh.leaves[0]->runs, sizeof(runs));
    stream = world_stream(&length);
    d = NULL;
    world_boot_closed(1, true);
    if (stream_open(&reader, stream, length, &why) != 0 ||
        restore_check(&reader, &adopt_keeper, &why) != 0 || restore_apply(&reader, &why) != 0) {
        fail_msg("%s", why);
    }
    free(stream);
    assert_int_equal(domain_list->fresh.nr, 3);
    assert_memory_equal(domain_list->fresh.leaves[0]->runs, runs, sizeof(runs));
}

/* ---- very many ---- */

#define MANY 150000U
#define STRIDE 7919U /* the runs are touched in an order that meets all of them */

static size_t moved, moved_most; /* bytes; by a touch */

void *__real_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes)
{
    moved += bytes;
    return __real_memmove(to, from, bytes);
}

void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes)
{
    moved += bytes;
    return __real_memcpy(to, from, bytes);
}

/* Every other unit, from `first` on; returns the bytes moved. */
static size_t touch_every_other(struct domain *big, uint64_t first)
{
    size_t sum = 0;

    moved_most = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        uint64_t gfn = (i * STRIDE % MANY * 2 + first) * UNIT_FRAMES;

        moved = 0;
        assert_int_equal(fresh_touch(big, gfn, gfn + 1), 0);
        moved_most = MAX(moved_most, moved);
        sum += moved;
    }
    return sum;
}

/* Of a terabyte every other unit: moving all runs behind each would be 180 GB. */
static void test_touch__very_many_runs__few_are_moved(void **state)
{
    struct domain *big = domain_create("big", 2, false);
    size_t leaf = sizeof(struct fresh_leaf);

    (void)state;
    d = NULL;
    assert_int_equal(fresh_add(&big->fresh, 0, (2 * MANY + 1) * UNIT_FRAMES), 0);
    assert_true(touch_every_other(big, 1) <= MANY * 2 * leaf);
    assert_true(moved_most >= leaf / 2 && moved_most <= KIB(128)); /* the list, when it grows */
    d = big;
    assert_runs_good();
    assert_int_equal(big->fresh.nr, MANY + 1);
    for (uint64_t u = 0; u <= 2 * MANY; u++) {
        assert_int_equal(fresh_any(&big->fresh, u * UNIT_FRAMES, (u + 1) * UNIT_FRAMES),
                         u % 2 == 0);
    }
    assert_true(touch_every_other(big, 0) <= MANY * 2 * leaf);
    assert_runs_good();
    assert_int_equal(big->fresh.nr, 1);
    assert_int_equal(big->fresh.nr_leaves, 1);
}

static void test_reap__very_many_runs__in_slices(void **state)
{
    struct domain *big = domain_create("big", 2, false);
    unsigned int slices = 0;

    (void)state;
    for (uint64_t i = 0; i < MANY; i++) {
        assert_int_equal(fresh_add(&big->fresh, 2 * i * UNIT_FRAMES, (2 * i + 1) * UNIT_FRAMES), 0);
    }
    domain_doom(big);
    for (size_t before = MANY; domain_find(2) != NULL; slices++) {
        assert_true(domain_reap());
        if (domain_find(2) != NULL) {
            assert_true(before - big->fresh.nr <= 256 * FRESH_LEAF_RUNS);
            before = big->fresh.nr;
        }
    }
    assert_true(slices >= MANY / (256 * FRESH_LEAF_RUNS));
}

/* Runs outside the memory come from a damaged stream alone, and do no harm. */
static void test_touch__runs_outside_the_memory__nothing_zeroed(void **state)
{
    (void)state;
    forget();
    assert_int_equal(fresh_add(&d->fresh, MEMORY >> PAGE_SHIFT, MEMORY >> (PAGE_SHIFT - 1)), 0);
    assert_int_equal(fresh_touch(d, MEMORY >> PAGE_SHIFT, (MEMORY >> PAGE_SHIFT) + 1), 0);
    assert_int_equal(zeroed_frames, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clean__large_memory__beginning_zeroed_and_the_rest_fresh),
        TEST(test_memory_init__extent_order__caps_what_is_added),
        TEST(test_clean__small_extents__zeroed),
        TEST(test_clean__no_memory_for_runs__zeroed),
        TEST(test_soil__some_touched__fresh_again),
        TEST(test_touch__random_ranges__each_unit_zeroed_once),
        TEST(test_touch__no_memory_to_split__fresh_as_before),
        TEST(test_access__fresh_memory__zeros_are_found),
        TEST(test_stage2__access__unit_mapped_and_zeroed),
        TEST(test_update__runs__the_same_in_the_next_image),
        TEST(test_touch__very_many_runs__few_are_moved),
        TEST(test_reap__very_many_runs__in_slices),
        TEST(test_touch__runs_outside_the_memory__nothing_zeroed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
