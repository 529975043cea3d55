/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/string.c under other names, against loops over bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define memcpy tested_memcpy
#define memmove tested_memmove
#define memset tested_memset
#define memcmp tested_memcmp
#define strlen tested_strlen
#define strnlen tested_strnlen
#define strcmp tested_strcmp
#define strncmp tested_strncmp
#include "../../core/string.c"

#define SPAN 80

static void fill(unsigned char *p, size_t n, unsigned int seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245U + 12345U;
        p[i] = (unsigned char)(seed >> 16);
    }
}

static unsigned char *exact(size_t n, unsigned int seed)
{
    unsigned char *p = malloc(n > 0 ? n : 1);

    assert_non_null(p);
    fill(p, n, seed);
    return p;
}

/* The copies have exact sizes and odd starts: ASan sees a byte too many. */
static void test_memcpy__every_size_and_alignment__copies_exactly(void **state)
{
    (void)state;
    for (size_t n = 0; n < SPAN; n++) {
        for (size_t shift = 0; shift < 8; shift++) {
            unsigned char *src = exact(n + shift, 1);
            unsigned char *dst = exact(n + 7 - shift, 2);
            unsigned char *at = dst + 7 - shift;

            assert_ptr_equal(memcpy(at, src + shift, n), at);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(at[i], src[shift + i]);
            }
            free(src);
            free(dst);
        }
    }
}

static void test_memmove__every_overlap__moves_as_if_through_a_copy(void **state)
{
    unsigned char was[2 * SPAN];
    unsigned char buf[2 * SPAN];

    (void)state;
    for (size_t n = 0; n < SPAN; n++) {
        for (size_t from = 0; from < 24; from++) {
            for (size_t to = 0; to < 24; to++) {
                fill(was, sizeof(was), 3);
                fill(buf, sizeof(buf), 3);
                assert_ptr_equal(memmove(buf + to, buf + from, n), buf + to);
                for (size_t i = 0; i < sizeof(buf); i++) {
                    bool moved = i >= to && i < to + n;

                    assert_int_equal(buf[i], moved ? was[from + i - to] : was[i]);
                }
            }
        }
    }
}

static void test_memset__every_size__sets_exactly(void **state)
{
    (void)state;
    for (size_t n = 0; n < SPAN; n++) {
        unsigned char *p = exact(n, 4);

        assert_ptr_equal(memset(p, 0x1a5, n), p);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(p[i], 0xa5);
        }
        free(p);
    }
}

static void test_memcmp__difference_at_each_place__has_its_sign(void **state)
{
    (void)state;
    for (size_t n = 0; n < SPAN; n++) {
        unsigned char *a = exact(n, 5);
        unsigned char *b = exact(n, 5);

        assert_int_equal(memcmp(a, b, n), 0);
        for (size_t i = 0; i < n; i++) {
            /* What follows differs the other way round and must not count. */
            a[i] = 0x7f;
            b[i] = 0x80;
            if (i + 1 < n) {
                b[i + 1] = (unsigned char)(a[i + 1] - 1);
            }
            assert_true(memcmp(a, b, n) < 0);
            assert_true(memcmp(b, a, n) > 0);
            assert_int_equal(memcmp(a, b, i), 0);
            a[i] = b[i];
            if (i + 1 < n) {
                b[i + 1] = a[i + 1];
            }
        }
        free(a);
        free(b);
    }
}

static void test_strlen__lengths__counts_to_the_terminator(void **state)
{
    (void)state;
    for (size_t n = 0; n < SPAN; n++) {
        char *s = malloc(n + 1);

        assert_non_null(s);
        memset(s, 'x', n);
        s[n] = '\0';
        assert_int_equal(strlen(s), n);
        assert_int_equal(strnlen(s, n + 1), n);
        assert_int_equal(strnlen(s, n / 2), n / 2);
        free(s);
    }
}

static void test_strncmp__pairs__orders_as_unsigned(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        size_t n;
        int sign;
    } cases[] = {
        {"", "", 9, 0},       {"a", "", 9, 1},      {"", "a", 9, -1},       {"abc", "abc", 9, 0},
        {"abc", "abd", 9, -1}, {"abc", "abd", 2, 0}, {"\x80", "\x7f", 9, 1}, {"abc", "xyz", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(strncmp(cases[i].a, cases[i].b, cases[i].n), cases[i].sign);
    }
    assert_int_equal(strcmp("same", "same"), 0);
    assert_int_equal(strcmp("same", "sane"), -1);
    assert_int_equal(strcmp("same\xff", "same"), 1);
}

static void test_str_copy__any_fit__terminates_and_zeroes_the_rest(void **state)
{
    char buf[6];

    (void)state;
    memset(buf, 'z', sizeof(buf));
    str_copy(buf, sizeof(buf), "ab");
    assert_memory_equal(buf, "ab\0\0\0\0", 6);
    str_copy(buf, sizeof(buf), "abcdefgh");
    assert_memory_equal(buf, "abcde\0", 6);
    buf[0] = 'k';
    str_copy(buf, 0, "x");
    assert_int_equal(buf[0], 'k');
}

static void test_mem_is_zero__one_byte_set_at_each_place__is_seen(void **state)
{
    (void)state;
    for (size_t n = 0; n < SPAN; n++) {
        unsigned char *p = calloc(n + 1, 1);

        assert_non_null(p);
        assert_true(mem_is_zero(p + 1, n));
        p[0] = 1;
        assert_true(mem_is_zero(p + 1, n));
        for (size_t i = 1; i <= n; i++) {
            p[i] = 0x80;
            assert_false(mem_is_zero(p + 1, n));
            p[i] = 0;
        }
        free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memcpy__every_size_and_alignment__copies_exactly),
        cmocka_unit_test(test_memmove__every_overlap__moves_as_if_through_a_copy),
        cmocka_unit_test(test_memset__every_size__sets_exactly),
        cmocka_unit_test(test_memcmp__difference_at_each_place__has_its_sign),
        cmocka_unit_test(test_strlen__lengths__counts_to_the_terminator),
        cmocka_unit_test(test_strncmp__pairs__orders_as_unsigned),
        cmocka_unit_test(test_str_copy__any_fit__terminates_and_zeroes_the_rest),
        cmocka_unit_test(test_mem_is_zero__one_byte_set_at_each_place__is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
