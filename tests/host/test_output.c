/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output for readers: positions, the ring running over, without memory, the next image.
 */
#include "hv/output.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "hv/slab.h"

static bool no_memory;

void *kzalloc(size_t bytes)
{
    return no_memory ? NULL : calloc(1, bytes);
}

void kfree(void *p)
{
    free(p);
}

static struct output o;
static uint8_t got[OUTPUT_BYTES + 10];

static int setup(void **state)
{
    (void)state;
    no_memory = false;
    memset(&o, 0, sizeof(o));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    output_free(&o);
    assert_null(o.bytes);
    assert_int_equal(o.first, o.total);
    return 0;
}

/* What stands at a position, however long ago. */
static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void put(uint64_t n)
{
    while (n-- > 0) {
        output_put(&o, pattern(o.total));
    }
}

/* Reads, and checks every byte against its position. */
static size_t get(uint64_t *at, size_t max)
{
    struct output_piece pieces[2];
    size_t n = output_get(&o, at, max, pieces);

    assert_int_equal(pieces[0].len + pieces[1].len, n);
    assert_true(n <= max);
    for (unsigned int i = 0, k = 0; i < 2; i++) {
        for (size_t b = 0; b < pieces[i].len; b++) {
            got[k++] = pieces[i].bytes[b];
        }
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(got[i], pattern(*at + i));
    }
    return n;
}

static void test_get__empty_and_at_the_end__nothing(void **state)
{
    uint64_t at = 0;

    (void)state;
    assert_int_equal(get(&at, 100), 0);
    put(10);
    at = 10;
    assert_int_equal(get(&at, 100), 0);
    assert_int_equal(at, 10);
    at = 11;
    assert_int_equal(get(&at, 100), 0);
    at = 9;
    assert_int_equal(get(&at, 100), 1);
    at = 3;
    assert_int_equal(get(&at, 4), 4);
    assert_int_equal(get(&at, 0), 0);
}

static void test_put__more_than_is_kept__the_last_ones(void **state)
{
    static const uint64_t steps[] = {OUTPUT_BYTES - 1,     1, 1, 5000, OUTPUT_BYTES,
                                     3 * OUTPUT_BYTES + 77};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        uint64_t at = 0;

        put(steps[i]);
        assert_int_equal(get(&at, sizeof(got)), MIN(o.total, (uint64_t)OUTPUT_BYTES));
        assert_int_equal(at, o.total - MIN(o.total, (uint64_t)OUTPUT_BYTES));
        for (size_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
            uint64_t all = 0, from = 0;
            size_t n;

            while ((n = get(&from, piece)) > 0) {
                all += n;
                from += n;
            }
            assert_int_equal(all, MIN(o.total, (uint64_t)OUTPUT_BYTES));
            assert_int_equal(from, o.total);
        }
    }
}

static void test_put__no_memory__counted_and_skipped(void **state)
{
    uint64_t at = 0;

    (void)state;
    no_memory = true;
    put(1000);
    assert_int_equal(o.total, 1000);
    assert_int_equal(get(&at, 100), 0);
    assert_int_equal(at, 1000);
    no_memory = false;
    put(50);
    at = 0;
    assert_int_equal(get(&at, 100), 50);
    assert_int_equal(at, 1000);
}

static void test_restore__what_was_kept__goes_on(void **state)
{
    static const uint64_t totals[] = {
        0, 1, 100, OUTPUT_BYTES, OUTPUT_BYTES + 1, 5 * OUTPUT_BYTES + 3};
    static uint8_t saved[OUTPUT_BYTES];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(totals); i++) {
        for (unsigned int fails = 0; fails < 2; fails++) {
            uint64_t at = 0, total;
            size_t n;

            (void)setup(NULL);
            put(totals[i]);
            n = get(&at, sizeof(saved));
            total = o.total;
            memcpy(saved, got, n);
            output_free(&o);
            memset(&o, 0, sizeof(o));
            no_memory = fails != 0;
            output_restore(&o, saved, n, total);
            assert_int_equal(o.total, total);
            at = 0;
            assert_int_equal(get(&at, sizeof(got)), fails ? 0 : n);
            no_memory = false;
            put(300);
            at = total;
            assert_int_equal(get(&at, sizeof(got)), 300);
            output_free(&o);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_get__empty_and_at_the_end__nothing),
        TEST(test_put__more_than_is_kept__the_last_ones),
        TEST(test_put__no_memory__counted_and_skipped),
        TEST(test_restore__what_was_kept__goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
