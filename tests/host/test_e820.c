/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory map: normalization against a table and against a model, look-ups.
 */
#include "hv/e820.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define RAM E820_RAM
#define MAX_CASE 6

struct normalise_case {
    const char *name;
    struct e820_range in[MAX_CASE];
    struct e820_range out[MAX_CASE];
};

static const struct normalise_case cases[] = {
    {"empty map", {{0}}, {{0}}},
    {"empty and wrapping entries are dropped",
     {{0x5000, 0x5000, RAM}, {0x9000, 0x1000, RAM}, {0x1000, 0x2000, RAM}},
     {{0x1000, 0x2000, RAM}}},
    {"sorted",
     {{0x8000, 0x9000, 2}, {0x1000, 0x2000, RAM}},
     {{0x1000, 0x2000, RAM}, {0x8000, 0x9000, 2}}},
    {"neighbours merge",
     {{0x2000, 0x3000, RAM}, {0x1000, 0x2000, RAM}, {0x3000, 0x4000, 2}},
     {{0x1000, 0x3000, RAM}, {0x3000, 0x4000, 2}}},
    {"halves of a page merge to whole RAM",
     {{0x1000, 0x1800, RAM}, {0x1800, 0x2000, RAM}},
     {{0x1000, 0x2000, RAM}}},
    {"RAM shrinks to whole pages, the rest stays as it is",
     {{0, 0x9fc00, RAM}, {0x9fc00, 0xa0000, 2}},
     {{0, 0x9f000, RAM}, {0x9fc00, 0xa0000, 2}}},
    {"RAM without a whole page vanishes", {{0x1200, 0x2e00, RAM}}, {{0}}},
    {"a hole inside RAM wins",
     {{0x1000, 0x9000, RAM}, {0x4000, 0x5000, 2}},
     {{0x1000, 0x4000, RAM}, {0x4000, 0x5000, 2}, {0x5000, 0x9000, RAM}}},
    {"a hole before RAM in the list wins as well",
     {{0x4000, 0x5000, 2}, {0x1000, 0x9000, RAM}},
     {{0x1000, 0x4000, RAM}, {0x4000, 0x5000, 2}, {0x5000, 0x9000, RAM}}},
    {"the same range twice with two types",
     {{0x1000, 0x2000, RAM}, {0x1000, 0x2000, 3}},
     {{0x1000, 0x2000, 3}}},
    {"of two other types the higher wins",
     {{0x1000, 0x5000, 2}, {0x2000, 0x3000, 5}, {0x2800, 0x6000, 3}},
     {{0x1000, 0x2000, 2}, {0x2000, 0x3000, 5}, {0x3000, 0x6000, 3}}},
    {"up to the last byte",
     {{0x1000, UINT64_MAX, 2}, {0x1000, 0x2000, RAM}},
     {{0x1000, UINT64_MAX, 2}}},
    {"RAM above 52 bits is cut",
     {{BIT(52) - 0x1000, BIT(52) + 0x5000, RAM}, {BIT(60), BIT(61), RAM}},
     {{BIT(52) - 0x1000, BIT(52), RAM}}},
    {"RAM in the last page of all vanishes", {{UINT64_MAX - 0x800, UINT64_MAX, RAM}}, {{0}}},
};

static size_t case_len(const struct e820_range *r)
{
    size_t n = 0;

    while (n < MAX_CASE && r[n].type != 0) {
        n++;
    }
    return n;
}

static void test_normalise__table__expected_ranges(void **state)
{
    (void)state;
    for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
        struct e820_range buf[2 * MAX_CASE + 1];
        size_t nr = case_len(cases[c].in);
        size_t want = case_len(cases[c].out);

        memcpy(buf, cases[c].in, sizeof(cases[c].in));
        assert_int_equal(e820_normalise(buf, &nr, 2 * nr + 1), 0);
        if (nr != want) {
            fail_msg("%s: %zu ranges and not %zu", cases[c].name, nr, want);
        }
        for (size_t i = 0; i < nr; i++) {
            if (buf[i].start != cases[c].out[i].start || buf[i].end != cases[c].out[i].end ||
                buf[i].type != cases[c].out[i].type) {
                fail_msg("%s: range %zu is [%llx, %llx) %u", cases[c].name, i,
                         (unsigned long long)buf[i].start, (unsigned long long)buf[i].end,
                         buf[i].type);
            }
        }
    }
}

static void test_normalise__capacity_too_small__einval_and_untouched(void **state)
{
    (void)state;
    struct e820_range r[4] = {{0x2000, 0x3000, RAM}, {0x1000, 0x2000, RAM}};
    size_t nr = 2;

    assert_int_equal(e820_normalise(r, &nr, 4), -EINVAL);
    assert_int_equal(nr, 2);
    assert_int_equal(r[0].start, 0x2000);
}

/* Quarter pages as the unit, so that partial pages come up. */
#define UNIT 0x400U
#define UNITS 256U

static void check_against_model(const struct e820_range *in, size_t nr_in, const struct e820 *map)
{
    uint32_t type[UNITS] = {0};
    uint64_t frames = 0;

    for (size_t i = 0; i < nr_in; i++) {
        for (paddr_t u = in[i].start / UNIT; u < in[i].end / UNIT; u++) {
            bool wins = type[u] == 0 || (type[u] == RAM && in[i].type != RAM) ||
                        (in[i].type != RAM && in[i].type > type[u]);
            type[u] = wins ? in[i].type : type[u];
        }
    }
    for (size_t p = 0; p < UNITS; p += 4) {
        bool whole = type[p] == RAM && type[p + 1] == RAM && type[p + 2] == RAM &&
                     type[p + 3] == RAM;

        for (size_t u = p; u < p + 4; u++) {
            type[u] = type[u] == RAM && !whole ? 0 : type[u];
        }
        frames += whole ? 1 : 0;
        assert_int_equal(e820_is_ram(map, p * UNIT, (p + 4) * UNIT), whole);
    }
    assert_int_equal(e820_ram_frames(map), frames);
    paddr_t ram_end = 0;
    for (size_t i = 0; i < map->nr; i++) {
        const struct e820_range *r = &map->ranges[i];

        assert_true(r->start < r->end);
        assert_true(i == 0 || r[-1].end < r->start ||
                    (r[-1].end == r->start && r[-1].type != r->type));
        for (paddr_t u = r->start / UNIT; u < r->end / UNIT; u++) {
            assert_int_equal(type[u], r->type);
            type[u] = 0;
        }
        ram_end = r->type == RAM ? r->end : ram_end;
    }
    for (size_t u = 0; u < UNITS; u++) {
        assert_int_equal(type[u], 0);
    }
    assert_int_equal(e820_ram_end(map), ram_end);
}

static void test_normalise__random_overlaps__equal_to_model(void **state)
{
    (void)state;
    for (unsigned int seed = 0; seed < 2000; seed++) {
        fake_random_seed(seed);
        size_t nr = random_u64() % 24;
        size_t nr_in = nr;
        struct e820_range in[24];
        struct e820_range *buf = malloc((2 * nr + 1) * sizeof(*buf));

        for (size_t i = 0; i < nr; i++) {
            paddr_t start = random_u64() % (UNITS - 1) * UNIT;
            paddr_t len = random_u64() % (seed % 2 == 0 ? 40 : UNITS) * UNIT;

            in[i] = (struct e820_range){start, MIN(start + len, UNITS * UNIT),
                                        1 + (uint32_t)(random_u64() % 4)};
            buf[i] = in[i];
        }
        assert_int_equal(e820_normalise(buf, &nr, 2 * nr + 1), 0);
        struct e820 map = {.ranges = buf, .nr = nr};
        check_against_model(in, nr_in, &map);
        free(buf);
    }
}

static void test_normalise__100000_fragments__all_kept(void **state)
{
    (void)state;
    size_t nr = 100001;
    struct e820_range *r = malloc((2 * nr + 1) * sizeof(*r));

    for (size_t i = 0; i < nr - 1; i++) {
        size_t at = (i * 7919) % (nr - 1); /* a permutation: 7919 is prime to 100000 */
        r[i] = (struct e820_range){MIB(1) * at + 0x1000, MIB(1) * at + 0x2000, 2};
    }
    r[nr - 1] = (struct e820_range){0, MIB(100000), RAM};
    assert_int_equal(e820_normalise(r, &nr, 2 * nr + 1), 0);
    assert_int_equal(nr, 200001);
    struct e820 map = {.ranges = r, .nr = nr};
    assert_int_equal(e820_ram_frames(&map), 100000 * 255);
    assert_true(e820_is_ram(&map, MIB(777) + 0x2000, MIB(778) + 0x1000));
    assert_false(e820_is_ram(&map, MIB(777) + 0x2000, MIB(778) + 0x2000));
    free(r);
}

static struct e820_range lookup_ranges[] = {
    {0, 0x9f000, RAM}, {0xf0000, 0x100000, 2}, {0x100000, 0x200000, RAM}, {0x200000, 0x201000, 3}};
static const struct e820 lookup_map = {.ranges = lookup_ranges, .nr = 4};

static void test_is_ram__edges__exact(void **state)
{
    (void)state;
    static const struct {
        paddr_t start;
        paddr_t end;
        bool ram;
    } rows[] = {
        {0, 0x9f000, true},        {0, 0x9f001, false},        {0x9e000, 0x9f000, true},
        {0x9f000, 0xa0000, false}, {0xff000, 0x101000, false}, {0x100000, 0x200000, true},
        {0x100000, 0x200001, false}, {0x201000, 0x202000, false}, {0x1000, 0x1000, false},
        {0x3000, 0x1000, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(e820_is_ram(&lookup_map, rows[i].start, rows[i].end), rows[i].ram);
    }
    struct e820 none = {0};
    assert_false(e820_is_ram(&none, 0, 0x1000));
    assert_int_equal(e820_ram_end(&none), 0);
    assert_int_equal(e820_ram_end(&lookup_map), 0x200000);
    assert_int_equal(e820_ram_frames(&lookup_map), 0x9f + 0x100);
}

static void test_next_ram__walk__every_range_once(void **state)
{
    (void)state;
    paddr_t start;
    paddr_t end;

    assert_true(e820_next_ram(&lookup_map, 0x5000, &start, &end));
    assert_int_equal(start, 0x5000);
    assert_int_equal(end, 0x9f000);
    assert_true(e820_next_ram(&lookup_map, end, &start, &end));
    assert_int_equal(start, 0x100000);
    assert_int_equal(end, 0x200000);
    assert_false(e820_next_ram(&lookup_map, end, &start, &end));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalise__table__expected_ranges),
        cmocka_unit_test(test_normalise__capacity_too_small__einval_and_untouched),
        cmocka_unit_test(test_normalise__random_overlaps__equal_to_model),
        cmocka_unit_test(test_normalise__100000_fragments__all_kept),
        cmocka_unit_test(test_is_ram__edges__exact),
        cmocka_unit_test(test_next_ram__walk__every_range_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
