/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/cmdline.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/cmdline.h"
#include "hv/errno.h"
#include "hv/string.h"

static struct str_span span(const char *s)
{
    return (struct str_span){s, strlen(s)};
}

static void test_cmdline_word__spaces_of_all_kinds__gives_each_word(void **state)
{
    const char *cursor = "  one two=2\t\tthree \n";
    struct str_span w;

    (void)state;
    assert_true(cmdline_word(&cursor, &w) && span_eq(w, "one"));
    assert_true(cmdline_word(&cursor, &w) && span_eq(w, "two=2"));
    assert_true(cmdline_word(&cursor, &w) && span_eq(w, "three"));
    assert_false(cmdline_word(&cursor, &w));
    assert_false(cmdline_word(&cursor, &w));
    cursor = "";
    assert_false(cmdline_word(&cursor, &w));
}

static void test_cmdline_get__lines__last_whole_key_wins(void **state)
{
    static const struct {
        const char *line;
        const char *key;
        const char *value; /* NULL: not there */
    } cases[] = {
        {"a=1 b=2", "a", "1"},
        {"a=1 b=2", "b", "2"},
        {"a=1 b=2", "c", NULL},
        {"a=1 a=2 a=3", "a", "3"},
        {"a=1 a", "a", ""},
        {"quiet", "quiet", ""},
        {"quieter", "quiet", NULL},
        {"qui", "quiet", NULL},
        {"a=", "a", ""},
        {"a=b=c", "a", "b=c"},
        {"=x", "", "x"},
        {"xa=1", "a", NULL},
        {"", "a", NULL},
        {"  a=1,2-3@4  ", "a", "1,2-3@4"},
    };
    struct str_span v;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        bool found = cmdline_get(cases[i].line, cases[i].key, &v);

        assert_int_equal(found, cases[i].value != NULL);
        assert_true(!found || span_eq(v, cases[i].value));
    }
}

static void test_cmdline_get__line_of_a_mebibyte__is_walked(void **state)
{
    char *line = malloc(MIB(1));
    struct str_span v;

    (void)state;
    assert_non_null(line);
    memset(line, 'x', MIB(1));
    memcpy(line + MIB(1) - 9, " key=val", 9);
    assert_true(cmdline_get(line, "key", &v) && span_eq(v, "val"));
    free(line);
}

static void test_parse_size__texts__number_or_einval(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"4096", 0, 4096},
        {"64K", 0, KIB(64)},
        {"64k", 0, KIB(64)},
        {"16M", 0, MIB(16)},
        {"3G", 0, GIB(3)},
        {"2T", 0, GIB(2048)},
        {"0x10", 0, 16},
        {"0XfFM", 0, MIB(255)},
        {"18446744073709551615", 0, UINT64_MAX},
        {"0xffffffffffffffff", 0, UINT64_MAX},
        {"16777215T", 0, UINT64_C(16777215) << 40},
        {"18446744073709551616", -EINVAL, 0},
        {"0x10000000000000000", -EINVAL, 0},
        {"16777216T", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"K", -EINVAL, 0},
        {"0x", -EINVAL, 0},
        {"0xM", -EINVAL, 0},
        {"12MM", -EINVAL, 0},
        {"12B", -EINVAL, 0},
        {"f", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1.5G", -EINVAL, 0},
        {"x10", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t v = 0x77;
        int rc = parse_size(span(cases[i].text), &v);

        assert_int_equal(rc, cases[i].rc);
        assert_int_equal(v, rc == 0 ? cases[i].value : 0x77);
    }
}

static void test_cmdline_liveupdate__lines__size_and_base(void **state)
{
    static const struct {
        const char *line;
        int rc;
        uint64_t size;
        paddr_t base;
    } cases[] = {
        {"", -ENOENT, 0, 0},
        {"liveupdat=1M", -ENOENT, 0, 0},
        {"liveupdate=64M", 0, MIB(64), 0},
        {"liveupdate=64M@0x10000000", 0, MIB(64), 0x10000000},
        {"liveupdate=64M@1G", 0, MIB(64), GIB(1)},
        {"liveupdate=1M liveupdate=2M@4M", 0, MIB(2), MIB(4)},
        {"liveupdate=2M@4M liveupdate=1M", 0, MIB(1), 0},
        {"liveupdate", -EINVAL, 0, 0},
        {"liveupdate=", -EINVAL, 0, 0},
        {"liveupdate=@1G", -EINVAL, 0, 0},
        {"liveupdate=1M@", -EINVAL, 0, 0},
        {"liveupdate=1M@0", -EINVAL, 0, 0},
        {"liveupdate=1M@x", -EINVAL, 0, 0},
        {"liveupdate=1M@1G@2G", -EINVAL, 0, 0},
        {"liveupdate=lots", -EINVAL, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t size = 0x77;
        paddr_t base = 0x77;
        int rc = cmdline_liveupdate(cases[i].line, &size, &base);

        assert_int_equal(rc, cases[i].rc);
        assert_int_equal(size, rc == 0 ? cases[i].size : 0x77);
        assert_int_equal(base, rc == 0 ? cases[i].base : 0x77);
    }
}

struct bad_item {
    uint64_t start;
    uint64_t end;
    const char *bad; /* malformed text */
};

static void test_cmdline_badpage_next__lines__each_item_in_turn(void **state)
{
    static const struct {
        const char *line;
        struct bad_item items[5];
        size_t nr;
    } cases[] = {
        {"", {{0}}, 0},
        {"a b=1 badpages=1", {{0}}, 0},
        {"badpage=1f", {{0x1f, 0x20, NULL}}, 1},
        {"badpage=0x1f", {{0x1f, 0x20, NULL}}, 1},
        {"badpage=10-1F", {{0x10, 0x20, NULL}}, 1},
        {"x badpage=1,0x3-5,a y", {{1, 2, NULL}, {3, 6, NULL}, {0xa, 0xb, NULL}}, 3},
        {"badpage=1,2 z badpage=3", {{1, 2, NULL}, {2, 3, NULL}, {3, 4, NULL}}, 3},
        {"badpage=7-7", {{7, 8, NULL}}, 1},
        {"badpage=0", {{0, 1, NULL}}, 1},
        {"badpage=ffffffffff", {{0xffffffffff, 0x10000000000, NULL}}, 1},
        {"badpage=10000000000 b", {{0, 0, "10000000000"}}, 1},
        {"badpage=ffffffffffffffffff", {{0, 0, "ffffffffffffffffff"}}, 1},
        {"badpage", {{0, 0, ""}}, 1},
        {"badpage=", {{0, 0, ""}}, 1},
        {"badpage=1,,2", {{1, 2, NULL}, {0, 0, ""}, {2, 3, NULL}}, 3},
        {"badpage=1, x=2", {{1, 2, NULL}, {0, 0, ""}}, 2},
        {"badpage=1,", {{1, 2, NULL}, {0, 0, ""}}, 2},
        {"badpage=5-3,6", {{0, 0, "5-3"}, {6, 7, NULL}}, 2},
        {"badpage=1-2-3", {{0, 0, "1-2-3"}}, 1},
        {"badpage=-3", {{0, 0, "-3"}}, 1},
        {"badpage=3-", {{0, 0, "3-"}}, 1},
        {"badpage=0x", {{0, 0, "0x"}}, 1},
        {"badpage=1 badpage=zz badpage=2", {{1, 2, NULL}, {0, 0, "zz"}, {2, 3, NULL}}, 3},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *cursor = cases[i].line;
        struct str_span bad;
        mfn_t s;
        mfn_t e;

        for (size_t k = 0; k < cases[i].nr; k++) {
            const struct bad_item *want = &cases[i].items[k];
            int rc = cmdline_badpage_next(&cursor, &s, &e, &bad);

            if (want->bad != NULL) {
                assert_int_equal(rc, -EINVAL);
                assert_true(span_eq(bad, want->bad));
            } else {
                assert_int_equal(rc, 1);
                assert_int_equal(s.v, want->start);
                assert_int_equal(e.v, want->end);
            }
        }
        assert_int_equal(cmdline_badpage_next(&cursor, &s, &e, &bad), 0);
        assert_int_equal(cmdline_badpage_next(&cursor, &s, &e, &bad), 0);
    }
}

static void test_cmdline_bad_in_range__ranges__end_of_the_last_bad_frame(void **state)
{
    const char *line = "badpage=20-22,10 x badpage=zz badpage=30";
    static const struct {
        paddr_t start;
        paddr_t end;
        paddr_t bad_end;
    } cases[] = {
        {0, 0x10000, 0},
        {0, 0x10001, 0x11000},
        {0x10000, 0x11000, 0x11000},
        {0x10fff, 0x11000, 0x11000},
        {0x11000, 0x20000, 0},
        {0, 0x100000, 0x31000},
        {0x20000, 0x21000, 0x21000},
        {0x21000, 0x30000, 0x23000},
        {0x1f000, 0x22800, 0x23000},
        {0x22fff, 0x23000, 0x23000},
        {0x31000, UINT64_MAX, 0},
        {0, UINT64_MAX, 0x31000},
        {0x20000, 0x20000, 0},
        {0x22000, 0x20000, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(cmdline_bad_in_range(line, cases[i].start, cases[i].end),
                         cases[i].bad_end);
    }
    assert_int_equal(cmdline_bad_in_range("badpage=ffffffffff", 0, UINT64_MAX), BIT(52));
}

static void test_parse_hex__texts__bytes_or_einval(void **state)
{
    static const char *const bad[] = {"",       "0",      "00 1fe", "0001f",   "0001fe0", "0x01fe",
                                      "0001fg", "-001fe", "+001fe", "0001fe ", "g001fe",  "0001f/"};
    uint8_t out[4] = {9, 9, 9, 9};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(parse_hex(span(bad[i]), out, 3), -EINVAL);
    }
    assert_int_equal(parse_hex(span("0001fE"), out, 3), 0);
    assert_memory_equal(out, "\x00\x01\xfe\x09", 4);
    assert_int_equal(parse_hex(span(""), out, 0), 0);
}

static void test_cmdline_learn__any_line__finds_the_same(void **state)
{
    static const char *const lines[] = {
        "",
        "audit",
        "  audit=update lu_nonce=0x5 badpage=10-12,20",
        "badpage=1 b",
        "end=all a=1 a=2",
    };
    static const char *const keys[] = {"audit", "a", "b", "badpage", "end", "lu_nonce", "slice"};
    struct str_span plain, learnt, bad;
    mfn_t start, end;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        char copy[64]; /* at another address: nothing is known of it */

        str_copy(copy, sizeof(copy), lines[i]);
        cmdline_learn(lines[i]);
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
            bool found = cmdline_get(copy, keys[k], &plain);

            assert_int_equal(cmdline_get(lines[i], keys[k], &learnt), found);
            if (found) {
                assert_int_equal(learnt.s - lines[i], plain.s - copy);
                assert_int_equal(learnt.len, plain.len);
            }
        }
        const char *a = lines[i], *b = copy;
        int rc;

        do {
            rc = cmdline_badpage_next(&b, &start, &end, &bad);
            assert_int_equal(cmdline_badpage_next(&a, &start, &end, &bad), rc);
            assert_true(rc == 0 || a - lines[i] == b - copy);
        } while (rc != 0);
    }
}

/* What was noted is not looked at again: the line is its owner's promise. */
static void test_cmdline_learn__no_such_word__is_not_walked(void **state)
{
    char line[] = "end=all slice=3";
    struct str_span v;

    (void)state;
    cmdline_learn(line);
    line[0] = 'x';
    assert_false(cmdline_get(line, "xnd", &v));
    assert_true(cmdline_get(line, "slice", &v));
    cmdline_learn(line);
    assert_true(cmdline_get(line, "xnd", &v));
    cmdline_learn("");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cmdline_word__spaces_of_all_kinds__gives_each_word),
        cmocka_unit_test(test_cmdline_get__lines__last_whole_key_wins),
        cmocka_unit_test(test_cmdline_get__line_of_a_mebibyte__is_walked),
        cmocka_unit_test(test_parse_size__texts__number_or_einval),
        cmocka_unit_test(test_parse_hex__texts__bytes_or_einval),
        cmocka_unit_test(test_cmdline_liveupdate__lines__size_and_base),
        cmocka_unit_test(test_cmdline_badpage_next__lines__each_item_in_turn),
        cmocka_unit_test(test_cmdline_bad_in_range__ranges__end_of_the_last_bad_frame),
        cmocka_unit_test(test_cmdline_learn__any_line__finds_the_same),
        cmocka_unit_test(test_cmdline_learn__no_such_word__is_not_walked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
