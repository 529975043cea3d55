/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot/mb2_parse.c and boot/mb2_build.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/mb2_block.h"
#include "hv/errno.h"
#include "hv/mb2.h"

static const struct e820_range ranges[] = {
    {0, 0x9fc00, E820_RAM},
    {0x100000, 0x8000000, E820_RAM},
    {0xfffc0000, 0x100000000, 2},
};

/* A block as GRUB makes it: two modules, tags that are kept and tags that are not. */
static void good_block(struct mb2_block *b)
{
    block_begin(b);
    block_string(b, 1, "liveupdate=64M console=com1");
    block_string(b, 2, "GRUB 2.06");
    block_module(b, 0x200000, 0x280001, "guest name=a");
    block_tag(b, 4, "\0\0\0\0\0\0\0", 8);
    block_module(b, 0x300000, 0x400000, "");
    block_mmap(b, ranges, ARRAY_SIZE(ranges), 0);
    block_tag(b, 14, "RSD PTR 12345678901", 20);
    block_tag(b, 12, "\1\2\3\4\5\6\7", 8);
    block_end(b);
}

/* Reads all that the accessors can reach, so that ASan sees a byte too many. */
static size_t touch_all(const struct boot_info *info)
{
    size_t sum = strlen(info->cmdline) + strlen(info->loader);
    struct mb2_module m;

    for (size_t i = 0; i < info->nr_modules; i++) {
        assert_true(mb2_module(info, i, &m));
        assert_true(m.start < m.end);
        sum += strlen(m.cmdline);
    }
    assert_false(mb2_module(info, info->nr_modules, &m));
    for (size_t i = 0; i < info->mmap_entries; i++) {
        struct e820_range r = mb2_mmap(info, i);

        assert_true(r.start <= r.end);
        sum += r.type;
    }
    return sum;
}

/* Parses the first n bytes of the block in memory of exactly that size. */
static int parse_exact(const struct mb2_block *b, size_t n)
{
    uint8_t *copy = block_copy(b, n);
    struct boot_info info;
    const char *why = NULL;
    int rc = mb2_parse(copy, n, &info, &why);

    if (rc == 0) {
        size_t need = mb2_build(NULL, 0, &info, "x", true);
        void *built = malloc(need);

        touch_all(&info);
        assert_int_equal(mb2_build(built, need, &info, "x", true), need);
        free(built);
    } else {
        assert_int_equal(rc, -EINVAL);
        assert_non_null(why);
    }
    free(copy);
    return rc;
}

static void test_mb2_parse__good_block__finds_everything(void **state)
{
    struct mb2_block b;
    struct boot_info info;
    struct mb2_module m;
    const char *why;

    (void)state;
    good_block(&b);
    assert_int_equal(mb2_parse(b.bytes, sizeof(b.bytes), &info, &why), 0);
    assert_int_equal(info.size, b.used);
    assert_string_equal(info.cmdline, "liveupdate=64M console=com1");
    assert_string_equal(info.loader, "GRUB 2.06");
    assert_int_equal(info.nr_modules, 2);
    assert_true(mb2_module(&info, 0, &m));
    assert_int_equal(m.start, 0x200000);
    assert_int_equal(m.end, 0x280001);
    assert_string_equal(m.cmdline, "guest name=a");
    assert_true(mb2_module(&info, 1, &m));
    assert_int_equal(m.start, 0x300000);
    assert_string_equal(m.cmdline, "");
    assert_false(mb2_module(&info, 2, &m));
    assert_int_equal(info.mmap_entries, ARRAY_SIZE(ranges));
    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        struct e820_range r = mb2_mmap(&info, i);

        assert_int_equal(r.start, ranges[i].start);
        assert_int_equal(r.end, ranges[i].end);
        assert_int_equal(r.type, ranges[i].type);
    }
}

static void test_mb2_parse__only_a_memory_map__empty_strings(void **state)
{
    struct mb2_block b;
    struct boot_info info;
    const char *why;

    (void)state;
    block_begin(&b);
    block_mmap(&b, ranges, 1, 16); /* longer entries of a later specification */
    block_end(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &info, &why), 0);
    assert_string_equal(info.cmdline, "");
    assert_string_equal(info.loader, "");
    assert_int_equal(info.nr_modules, 0);
    assert_int_equal(info.mmap_entry_size, 40);
    assert_int_equal(mb2_mmap(&info, 0).end, 0x9fc00);
}

static void test_mb2_parse__doubled_tags__first_one_counts(void **state)
{
    struct mb2_block b;
    struct boot_info info;
    const char *why;

    (void)state;
    block_begin(&b);
    block_string(&b, 1, "first");
    block_string(&b, 1, "second");
    block_mmap(&b, ranges, 2, 0);
    block_mmap(&b, ranges, 1, 0);
    block_end(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &info, &why), 0);
    assert_string_equal(info.cmdline, "first");
    assert_int_equal(info.mmap_entries, 2);
}

static void test_mb2_parse__acpi_pointers__the_newer_one_counts(void **state)
{
    static const struct e820_range ram = {0, 0x100000, E820_RAM};
    static const struct {
        uint32_t first, second; /* tags, 0: none */
        const char *found;
    } cases[] = {{0, 0, NULL}, {14, 0, "old"}, {15, 0, "new"}, {14, 15, "new"}, {15, 14, "new"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint32_t tags[] = {cases[i].first, cases[i].second};
        struct mb2_block b;
        struct boot_info info;
        const char *why;

        block_begin(&b);
        block_mmap(&b, &ram, 1, 0);
        for (size_t t = 0; t < ARRAY_SIZE(tags); t++) {
            if (tags[t] != 0) {
                block_tag(&b, tags[t], tags[t] == 15 ? "new" : "old", 3);
            }
        }
        block_end(&b);
        assert_int_equal(mb2_parse(b.bytes, b.used, &info, &why), 0);
        assert_int_equal(info.rsdp_bytes, cases[i].found != NULL ? 3 : 0);
        if (cases[i].found != NULL) {
            assert_memory_equal(info.rsdp, cases[i].found, 3);
        } else {
            assert_null(info.rsdp);
        }
    }
}

static void test_mb2_mmap__wrapping_entry__is_cut(void **state)
{
    const struct e820_range wraps[] = {{0xfffffffffffff000, 0x1000, 1}, {5, 5, 1}};
    struct mb2_block b;
    struct boot_info info;
    const char *why;

    (void)state;
    block_begin(&b);
    block_mmap(&b, wraps, 2, 0);
    block_end(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &info, &why), 0);
    assert_int_equal(mb2_mmap(&info, 0).start, 0xfffffffffffff000);
    assert_int_equal(mb2_mmap(&info, 0).end, UINT64_MAX);
    assert_int_equal(mb2_mmap(&info, 1).end, 5);
}

/* ---- refusals: each changes or adds one thing ---- */

static void put32(struct mb2_block *b, size_t at, uint32_t v)
{
    memcpy(b->bytes + at, &v, sizeof(v));
}

static void start_with_map(struct mb2_block *b)
{
    block_begin(b);
    block_mmap(b, ranges, 3, 0);
}

static void total_zero(struct mb2_block *b)
{
    good_block(b);
    block_set_total(b, 0);
}

static void total_eight(struct mb2_block *b)
{
    good_block(b);
    block_set_total(b, 8);
}

static void total_odd(struct mb2_block *b)
{
    good_block(b);
    block_set_total(b, b->used - 4);
}

static void total_above_max(struct mb2_block *b)
{
    good_block(b);
    block_set_total(b, b->used + 8);
}

static void total_all_ones(struct mb2_block *b)
{
    good_block(b);
    block_set_total(b, 0xfffffff8);
}

static void no_end(struct mb2_block *b)
{
    start_with_map(b);
    block_set_total(b, b->used);
}

static void no_map(struct mb2_block *b)
{
    block_begin(b);
    block_string(b, 1, "x");
    block_end(b);
}

static void tag_size(struct mb2_block *b, uint32_t size)
{
    size_t at;

    start_with_map(b);
    at = b->used;
    block_tag(b, 99, "12345678", 8);
    block_end(b);
    put32(b, at + 4, size);
}

static void tag_size_zero(struct mb2_block *b)
{
    tag_size(b, 0);
}

static void tag_size_seven(struct mb2_block *b)
{
    tag_size(b, 7);
}

static void tag_overruns(struct mb2_block *b)
{
    tag_size(b, 25);
}

static void tag_size_all_ones(struct mb2_block *b)
{
    tag_size(b, UINT32_MAX);
}

static void string_without_end(struct mb2_block *b)
{
    start_with_map(b);
    block_tag(b, 1, "12345678", 8);
    block_end(b);
}

static void string_without_text(struct mb2_block *b)
{
    start_with_map(b);
    block_tag(b, 2, "", 0);
    block_end(b);
}

static void string_ends_in_padding(struct mb2_block *b)
{
    start_with_map(b);
    block_tag(b, 1, "12345", 5);
    block_end(b);
}

static void module_without_text(struct mb2_block *b)
{
    start_with_map(b);
    block_tag(b, 3, "\0\0\1\0\0\0\2", 8);
    block_end(b);
}

static void module_cut_off(struct mb2_block *b)
{
    start_with_map(b);
    block_tag(b, 3, "\0\0\1", 4);
    block_end(b);
}

static void module_string_without_end(struct mb2_block *b)
{
    start_with_map(b);
    block_tag(b, 3, "\0\0\1\0\0\0\2\0abcdefgh", 16);
    block_end(b);
}

static void modules(struct mb2_block *b, size_t nr, const uint32_t *bounds)
{
    start_with_map(b);
    for (size_t i = 0; i < nr; i++) {
        block_module(b, bounds[2 * i], bounds[2 * i + 1], "m");
    }
    block_end(b);
}

static void module_empty(struct mb2_block *b)
{
    modules(b, 1, (const uint32_t[]){0x1000, 0x1000});
}

static void module_inverted(struct mb2_block *b)
{
    modules(b, 1, (const uint32_t[]){0x2000, 0x1000});
}

static void modules_equal(struct mb2_block *b)
{
    modules(b, 2, (const uint32_t[]){0x1000, 0x2000, 0x1000, 0x2000});
}

static void modules_touch_by_a_byte(struct mb2_block *b)
{
    modules(b, 2, (const uint32_t[]){0x1000, 0x2001, 0x2000, 0x3000});
}

static void module_inside_the_first_of_three(struct mb2_block *b)
{
    modules(b, 3, (const uint32_t[]){0x1000, 0x9000, 0xa000, 0xb000, 0x2000, 0x3000});
}

static void module_around_all(struct mb2_block *b)
{
    modules(b, 3, (const uint32_t[]){0x3000, 0x4000, 0x8000, 0x9000, 0x1000, 0xffffffff});
}

static void map_header(struct mb2_block *b, uint32_t size, uint32_t entry_size)
{
    start_with_map(b);
    block_end(b);
    put32(b, 8 + 4, size);
    put32(b, 8 + 8, entry_size);
}

static void map_cut_off(struct mb2_block *b)
{
    map_header(b, 12, 24);
}

static void map_empty(struct mb2_block *b)
{
    map_header(b, 16, 24);
}

static void map_entry_size_zero(struct mb2_block *b)
{
    map_header(b, 88, 0);
}

static void map_entry_size_small(struct mb2_block *b)
{
    map_header(b, 88, 16);
}

static void map_entry_size_odd(struct mb2_block *b)
{
    map_header(b, 88, 36);
}

static void map_entry_size_huge(struct mb2_block *b)
{
    map_header(b, 88, 0xfffffff8);
}

static void map_half_an_entry(struct mb2_block *b)
{
    map_header(b, 88 - 12, 24);
}

static void test_mb2_parse__malformed_blocks__are_refused(void **state)
{
    static const struct {
        const char *name;
        void (*make)(struct mb2_block *b);
        const char *why;
    } cases[] = {
        {"total_zero", total_zero, "total size"},
        {"total_eight", total_eight, "total size"},
        {"total_odd", total_odd, "total size"},
        {"total_above_max", total_above_max, "too large"},
        {"total_all_ones", total_all_ones, "too large"},
        {"no_end", no_end, "no end tag"},
        {"no_map", no_map, "no memory map"},
        {"tag_size_zero", tag_size_zero, "shorter than its header"},
        {"tag_size_seven", tag_size_seven, "shorter than its header"},
        {"tag_overruns", tag_overruns, "overruns"},
        {"tag_size_all_ones", tag_size_all_ones, "overruns"},
        {"string_without_end", string_without_end, "command line tag: string without"},
        {"string_without_text", string_without_text, "loader name tag: string without"},
        {"string_ends_in_padding", string_ends_in_padding, "command line tag: string without"},
        {"module_without_text", module_without_text, "module tag: string without"},
        {"module_cut_off", module_cut_off, "module tag: string without"},
        {"module_string_without_end", module_string_without_end, "module tag: string without"},
        {"module_empty", module_empty, "empty or inverted"},
        {"module_inverted", module_inverted, "empty or inverted"},
        {"modules_equal", modules_equal, "overlaps another"},
        {"modules_touch_by_a_byte", modules_touch_by_a_byte, "overlaps another"},
        {"module_inside_the_first", module_inside_the_first_of_three, "overlaps another"},
        {"module_around_all", module_around_all, "overlaps another"},
        {"map_cut_off", map_cut_off, "memory map tag: shorter"},
        {"map_empty", map_empty, "whole number"},
        {"map_entry_size_zero", map_entry_size_zero, "odd entry size"},
        {"map_entry_size_small", map_entry_size_small, "odd entry size"},
        {"map_entry_size_odd", map_entry_size_odd, "odd entry size"},
        {"map_entry_size_huge", map_entry_size_huge, "whole number"},
        {"map_half_an_entry", map_half_an_entry, "whole number"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct mb2_block b;
        struct boot_info info;
        const char *why = "";
        uint8_t *copy;
        int rc;

        cases[i].make(&b);
        copy = block_copy(&b, b.used);
        rc = mb2_parse(copy, b.used, &info, &why);
        if (rc != -EINVAL || strstr(why, cases[i].why) == NULL) {
            fail_msg("%s: %d, %s", cases[i].name, rc, why);
        }
        free(copy);
    }
}

static void test_mb2_parse__modules_side_by_side__are_accepted(void **state)
{
    struct mb2_block b;

    (void)state;
    modules(&b, 2, (const uint32_t[]){0x1000, 0x2000, 0x2000, 0x3000});
    assert_int_equal(parse_exact(&b, b.used), 0);
    modules(&b, 4,
            (const uint32_t[]){0x5000, 0x6000, 0x1000, 0x2000, 0x3000, 0x5000, 0x2000, 0x3000});
    assert_int_equal(parse_exact(&b, b.used), 0);
}

static void test_mb2_parse__cut_at_each_byte__is_refused(void **state)
{
    struct mb2_block b;

    (void)state;
    good_block(&b);
    for (size_t n = 0; n < b.used; n++) {
        good_block(&b);
        assert_int_equal(parse_exact(&b, n), -EINVAL);
        /* And with a total size that goes with it. */
        block_set_total(&b, n);
        if (n >= 4) {
            assert_int_equal(parse_exact(&b, n), -EINVAL);
        }
    }
}

static void test_mb2_parse__each_byte_changed__reads_nothing_outside(void **state)
{
    static const uint8_t values[] = {0, 1, 3, 6, 7, 8, 16, 24, 0x7f, 0x80, 0xfe, 0xff};
    struct mb2_block b;

    (void)state;
    good_block(&b);
    for (size_t at = 0; at < b.used; at++) {
        for (size_t v = 0; v < ARRAY_SIZE(values) + 8; v++) {
            uint8_t was = b.bytes[at];

            b.bytes[at] = (uint8_t)(v < 8 ? was ^ (1U << v) : values[v - 8]);
            (void)parse_exact(&b, b.used);
            b.bytes[at] = was;
        }
    }
    assert_int_equal(parse_exact(&b, b.used), 0);
}

static void test_mb2_parse__bytes_at_odd_addresses__are_read(void **state)
{
    uint8_t *raw = malloc(sizeof(struct mb2_block) + 8);
    struct mb2_block b;
    struct boot_info info;
    const char *why;

    (void)state;
    good_block(&b);
    for (size_t shift = 1; shift < 8; shift++) {
        memcpy(raw + shift, b.bytes, b.used);
        assert_int_equal(mb2_parse(raw + shift, b.used, &info, &why), 0);
        touch_all(&info);
    }
    free(raw);
}

static void test_mb2_parse__thousands_of_modules__in_any_order(void **state)
{
    static struct mb2_block b;

    (void)state;
    block_begin(&b);
    block_mmap(&b, ranges, 1, 0);
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t place = (i * 1201) % 2000;

        block_module(&b, place * 0x1000, place * 0x1000 + 0x1000, "");
    }
    block_end(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &(struct boot_info){0}, &(const char *){0}), 0);
}

/* ---- building ---- */

static void rebuild(const struct boot_info *old, const char *cmdline, bool with_modules,
                    struct boot_info *out, uint8_t **built)
{
    size_t need = mb2_build(NULL, 0, old, cmdline, with_modules);
    const char *why = "";

    assert_true(need > 0 && need % 8 == 0);
    *built = malloc(need);
    assert_non_null(*built);
    memset(*built, 0xa5, need);
    assert_int_equal(mb2_build(*built, need, old, cmdline, with_modules), need);
    assert_int_equal(mb2_parse(*built, need, out, &why), 0);
    assert_int_equal(out->size, need);
}

static void assert_same(const struct boot_info *a, const struct boot_info *b)
{
    assert_string_equal(a->loader, b->loader);
    assert_int_equal(a->mmap_entries, b->mmap_entries);
    assert_int_equal(a->mmap_entry_size, b->mmap_entry_size);
    assert_memory_equal(a->mmap, b->mmap, a->mmap_entries * a->mmap_entry_size);
}

static bool has_tag(const struct boot_info *info, uint32_t type, const void *data, size_t n)
{
    for (size_t at = 8; at + 8 <= info->size; at += 8) {
        uint32_t head[2];

        memcpy(head, info->base + at, sizeof(head));
        if (head[0] == type && head[1] == 8 + n && memcmp(info->base + at + 8, data, n) == 0) {
            return true;
        }
    }
    return false;
}

static void test_mb2_build__with_modules__round_trips(void **state)
{
    struct mb2_block b;
    struct boot_info old;
    struct boot_info next;
    struct boot_info third;
    uint8_t *built;
    uint8_t *again;
    const char *why;

    (void)state;
    good_block(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &old, &why), 0);
    rebuild(&old, old.cmdline, true, &next, &built);
    assert_same(&old, &next);
    assert_string_equal(next.cmdline, old.cmdline);
    assert_int_equal(next.nr_modules, old.nr_modules);
    for (size_t i = 0; i < old.nr_modules; i++) {
        struct mb2_module m = {0};
        struct mb2_module n = {0};

        assert_true(mb2_module(&old, i, &m) && mb2_module(&next, i, &n));
        assert_int_equal(m.start, n.start);
        assert_int_equal(m.end, n.end);
        assert_string_equal(m.cmdline, n.cmdline);
    }
    /* Building from what was built changes nothing any more. */
    rebuild(&next, next.cmdline, true, &third, &again);
    assert_int_equal(third.size, next.size);
    assert_memory_equal(third.base, next.base, next.size);
    free(built);
    free(again);
}

static void test_mb2_build__without_modules__keeps_what_still_holds(void **state)
{
    static const char *const lines[] = {"", "x", "1234567", "12345678", "liveupdate=8M@16M q"};
    struct mb2_block b;
    struct boot_info old;
    const char *why;

    (void)state;
    good_block(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &old, &why), 0);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct boot_info next;
        uint8_t *built;

        rebuild(&old, lines[i], false, &next, &built);
        assert_same(&old, &next);
        assert_string_equal(next.cmdline, lines[i]);
        assert_int_equal(next.nr_modules, 0);
        assert_true(has_tag(&next, 14, "RSD PTR 12345678901", 20));
        assert_true(has_tag(&next, 12, "\1\2\3\4\5\6\7", 8));
        assert_false(has_tag(&next, 4, "\0\0\0\0\0\0\0", 8));
        free(built);
    }
}

static void test_mb2_build__every_capacity__fits_or_writes_nothing(void **state)
{
    struct mb2_block b;
    struct boot_info old;
    const char *why;
    size_t need;

    (void)state;
    good_block(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &old, &why), 0);
    need = mb2_build(NULL, 0, &old, "line", true);
    for (size_t cap = 0; cap <= need + 8; cap++) {
        uint8_t *buf = malloc(cap > 0 ? cap : 1);

        assert_non_null(buf);
        assert_int_equal(mb2_build(buf, cap, &old, "line", true), cap >= need ? need : 0);
        free(buf);
    }
}

static void test_mb2_build__line_above_the_limit__is_refused(void **state)
{
    char *line = malloc(MB2_INFO_MAX + 1);
    struct mb2_block b;
    struct boot_info old;
    const char *why;

    (void)state;
    good_block(&b);
    assert_int_equal(mb2_parse(b.bytes, b.used, &old, &why), 0);
    memset(line, 'x', MB2_INFO_MAX);
    line[MB2_INFO_MAX] = '\0';
    assert_int_equal(mb2_build(NULL, 0, &old, line, true), 0);
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mb2_parse__good_block__finds_everything),
        cmocka_unit_test(test_mb2_parse__only_a_memory_map__empty_strings),
        cmocka_unit_test(test_mb2_parse__doubled_tags__first_one_counts),
        cmocka_unit_test(test_mb2_parse__acpi_pointers__the_newer_one_counts),
        cmocka_unit_test(test_mb2_mmap__wrapping_entry__is_cut),
        cmocka_unit_test(test_mb2_parse__malformed_blocks__are_refused),
        cmocka_unit_test(test_mb2_parse__modules_side_by_side__are_accepted),
        cmocka_unit_test(test_mb2_parse__cut_at_each_byte__is_refused),
        cmocka_unit_test(test_mb2_parse__each_byte_changed__reads_nothing_outside),
        cmocka_unit_test(test_mb2_parse__bytes_at_odd_addresses__are_read),
        cmocka_unit_test(test_mb2_parse__thousands_of_modules__in_any_order),
        cmocka_unit_test(test_mb2_build__with_modules__round_trips),
        cmocka_unit_test(test_mb2_build__without_modules__keeps_what_still_holds),
        cmocka_unit_test(test_mb2_build__every_capacity__fits_or_writes_nothing),
        cmocka_unit_test(test_mb2_build__line_above_the_limit__is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
