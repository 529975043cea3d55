/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/format.c against the C library, and where it differs on purpose.
 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/printk.h"

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-truncation"

#define SAME_AS_LIBC(...)                                       \
    do {                                                        \
        char ours_[128];                                        \
        char libc_[128];                                        \
        size_t n_ = fmt_str(ours_, sizeof(ours_), __VA_ARGS__); \
        int m_ = snprintf(libc_, sizeof(libc_), __VA_ARGS__);   \
        assert_string_equal(ours_, libc_);                      \
        assert_int_equal(n_, m_);                               \
    } while (0)

static void test_fmt_str__integers__as_libc(void **state)
{
    static const long long values[] = {
        0,     1,       -1,      9,        10,        127,       128,
        255,   256,     -128,    -129,     32767,     32768,     65535,
        65536, INT_MAX, INT_MIN, UINT_MAX, LLONG_MAX, LLONG_MIN, 0x123456789abcdef,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        long long v = values[i];

        SAME_AS_LIBC("%d|%i|%u|%x|%X", (int)v, (int)v, (unsigned int)v, (unsigned int)v,
                     (unsigned int)v);
        SAME_AS_LIBC("%ld|%lu|%lx|%lX", (long)v, (unsigned long)v, (unsigned long)v,
                     (unsigned long)v);
        SAME_AS_LIBC("%lld|%llu|%llx|%zu|%zx|%zd", v, (unsigned long long)v, (unsigned long long)v,
                     (size_t)v, (size_t)v, (size_t)v);
        SAME_AS_LIBC("%hd|%hu|%hx|%hhd|%hhu|%hhx", (int)v, (int)v, (int)v, (int)v, (int)v, (int)v);
    }
}

static void test_fmt_str__widths_and_flags__as_libc(void **state)
{
    (void)state;
    SAME_AS_LIBC("[%5d][%-5d][%05d][%-05d]", 42, 42, 42, 42);
    SAME_AS_LIBC("[%5d][%-5d][%05d][%3d]", -42, -42, -42, -123456);
    SAME_AS_LIBC("[%016lx][%16lx][%-16lx]", 0xabcdefUL, 0xabcdefUL, 0xabcdefUL);
    SAME_AS_LIBC("[%*d][%-*d][%*d]", 6, 1, 6, 2, -6, 3);
    SAME_AS_LIBC("[%c][%3c][%-3c]", 'a', 'b', 'c');
    SAME_AS_LIBC("[%s][%6s][%-6s][%2s]", "text", "text", "text", "text");
    SAME_AS_LIBC("[%.2s][%6.2s][%-6.2s][%.9s][%.0s]", "text", "text", "text", "text", "text");
    SAME_AS_LIBC("[%.*s][%.*s]", 3, "span of text", -1, "whole");
    SAME_AS_LIBC("100%% %s", "sure");
    SAME_AS_LIBC("%s", "");
    SAME_AS_LIBC("plain");
}

static void test_fmt_str__string_without_terminator__reads_only_the_precision(void **state)
{
    char *span = malloc(3);
    char out[16];

    (void)state;
    assert_non_null(span);
    memcpy(span, "abc", 3);
    fmt_str(out, sizeof(out), "%.*s", 3, span);
    assert_string_equal(out, "abc");
    free(span);
}

static void test_fmt_str__pointers_and_null__own_forms(void **state)
{
    char out[64];

    (void)state;
    fmt_str(out, sizeof(out), "%p %p", (void *)0x1fUL, (void *)0);
    assert_string_equal(out, "0x1f 0x0");
    fmt_str(out, sizeof(out), "%s", (char *)NULL);
    assert_string_equal(out, "(null)");
}

static void test_fmt_str__unknown_conversion__is_shown_as_it_stands(void **state)
{
    char out[64];

    (void)state;
    fmt_str(out, sizeof(out), "a%qb%d", 7);
    assert_string_equal(out, "a%qb7");
    fmt_str(out, sizeof(out), "end%");
    assert_string_equal(out, "end%");
    fmt_str(out, sizeof(out), "end%-05l");
    assert_string_equal(out, "end%-05l");
}

static void test_fmt_str__every_size__cuts_terminates_and_counts(void **state)
{
    const char *whole = "number 12345 and text";

    (void)state;
    for (size_t size = 0; size < 30; size++) {
        char *buf = malloc(size > 0 ? size : 1);

        assert_non_null(buf);
        assert_int_equal(fmt_str(buf, size, "number %d and %s", 12345, "text"), strlen(whole));
        if (size > 0) {
            size_t n = MIN(size - 1, strlen(whole));

            assert_memory_equal(buf, whole, n);
            assert_int_equal(buf[n], '\0');
        }
        free(buf);
    }
    assert_int_equal(fmt_str(NULL, 0, "%d", 123), 3);
}

static size_t through_va_list(char *buf, size_t size, const char *fmt, ...)
{
    va_list args;
    size_t n;

    va_start(args, fmt);
    fmt_vstr(buf, size, fmt, args); /* leaves the caller's list where it was */
    n = fmt_vstr(buf, size, fmt, args);
    va_end(args);
    return n;
}

static void test_fmt_vstr__many_arguments__keeps_their_order(void **state)
{
    char out[64];

    (void)state;
    through_va_list(out, sizeof(out), "%d%s%lx%c%d%d%d%s%u", 1, "two", 3UL, '4', 5, 6, 7, "8", 9U);
    assert_string_equal(out, "1two3456789");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fmt_str__integers__as_libc),
        cmocka_unit_test(test_fmt_str__widths_and_flags__as_libc),
        cmocka_unit_test(test_fmt_str__string_without_terminator__reads_only_the_precision),
        cmocka_unit_test(test_fmt_str__pointers_and_null__own_forms),
        cmocka_unit_test(test_fmt_str__unknown_conversion__is_shown_as_it_stands),
        cmocka_unit_test(test_fmt_str__every_size__cuts_terminates_and_counts),
        cmocka_unit_test(test_fmt_vstr__many_arguments__keeps_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
