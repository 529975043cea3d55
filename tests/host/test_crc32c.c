/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core/crc32c.c: published values, the definition bit by bit, table against instruction.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/crc32c.h"
#include "hv/seam.h"

static bool has_instruction;

bool cpu_has_crc32(void)
{
    return has_instruction;
}

static uint32_t by_definition(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
        }
    }
    return ~crc;
}

/* RFC 3720, "CRC Examples", and the usual check value. */
static void test_crc32c__published_vectors__match(void **state)
{
    uint8_t zeros[32];
    uint8_t ones[32];
    uint8_t up[32];
    uint8_t down[32];
    const struct {
        const void *data;
        size_t n;
        uint32_t crc;
    } cases[] = {
        {"", 0, 0},
        {"123456789", 9, 0xe3069283},
        {zeros, 32, 0x8a9136aa},
        {ones, 32, 0x62a8ab43},
        {up, 32, 0x46dd794e},
        {down, 32, 0x113fdb5c},
    };

    (void)state;
    memset(zeros, 0, sizeof(zeros));
    memset(ones, 0xff, sizeof(ones));
    for (unsigned int i = 0; i < 32; i++) {
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(crc32c_table(0, cases[i].data, cases[i].n), cases[i].crc);
        has_instruction = false;
        assert_int_equal(crc32c(0, cases[i].data, cases[i].n), cases[i].crc);
        has_instruction = true;
        assert_int_equal(crc32c(0, cases[i].data, cases[i].n), cases[i].crc);
    }
}

static void test_crc32c__every_size_alignment_and_split__all_ways_agree(void **state)
{
    uint8_t *data = malloc(100);

    (void)state;
    assert_non_null(data);
    for (unsigned int i = 0; i < 100; i++) {
        data[i] = (uint8_t)(i * 151 + 7);
    }
    has_instruction = true;
    for (size_t start = 0; start < 8; start++) {
        for (size_t n = 0; n + start <= 100; n++) {
            uint32_t crc = by_definition(0, data + start, n);
            size_t cut = n / 3;

            assert_int_equal(crc32c_table(0, data + start, n), crc);
            assert_int_equal(crc32c(0, data + start, n), crc);
            assert_int_equal(crc32c(crc32c(0, data + start, cut), data + start + cut, n - cut),
                             crc);
            assert_int_equal(
                crc32c_table(crc32c_table(0, data + start, cut), data + start + cut, n - cut), crc);
        }
    }
    free(data);
}

/* Each byte value at each of eight places: every entry of every slice of the table. */
static void test_crc32c_table__each_table_entry__is_right(void **state)
{
    (void)state;
    for (size_t at = 0; at < 8; at++) {
        for (unsigned int v = 0; v < 256; v++) {
            uint8_t data[8] = {0};

            data[at] = (uint8_t)v;
            assert_int_equal(crc32c_table(0x5eed, data, 8), by_definition(0x5eed, data, 8));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c__published_vectors__match),
        cmocka_unit_test(test_crc32c__every_size_alignment_and_split__all_ways_agree),
        cmocka_unit_test(test_crc32c_table__each_table_entry__is_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
