/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/stream_write.c and lu/stream_read.c against each other, and the reader against wrong streams.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/heap.h"
#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/stream.h"

#define TYPE_A 3U
#define TYPE_B (LU_REC_OPTIONAL | 0x1234U)

/* ---- helpers ---- */

static bool usable(mfn_t mfn)
{
    return heap_is(mfn, FRAME_STREAM);
}

static int gather_page(void *ctx, mfn_t mfn, uint64_t index, bool is_list)
{
    if (!is_list) {
        memcpy((uint8_t *)ctx + index * PAGE_SIZE, mfn_to_va(mfn), PAGE_SIZE);
    }
    return 0;
}

static uint8_t *whole_pages(size_t length)
{
    void *p = NULL;

    assert_int_equal(posix_memalign(&p, PAGE_SIZE, length), 0);
    return p;
}

/* The stream as the next image sees it: contiguous. */
static uint8_t *gather(const struct stream_writer *w, size_t *length)
{
    uint8_t *data = whole_pages(w->pages * PAGE_SIZE);
    const char *why = "";

    assert_int_equal(mfn_list_walk(w->list_pa, w->pages, NULL, usable, gather_page, data, &why), 0);
    *length = w->pages * PAGE_SIZE;
    return data;
}

static uint8_t pattern(size_t record, size_t at)
{
    return (uint8_t)(record * 31 + at * 7 + (at >> 8));
}

static void fill(uint8_t *p, size_t n, size_t record)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = pattern(record, i);
    }
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_after(-1);
    heap_has_crc32 = true;
    assert_int_equal(heap_in_use(), 0);
    return 0;
}

static int open_stream(const uint8_t *data, size_t length, const char **why)
{
    struct stream_reader r;

    return stream_open(&r, data, length, why);
}

/* A finished stream of one page, for spoiling: some records of both kinds. */
static uint8_t *small_stream(size_t *length, size_t *used)
{
    struct stream_writer w;
    uint8_t *data;

    stream_begin(&w, LU_STREAM_VERSION);
    stream_record(&w, TYPE_A, "12345", 5, NULL, 0);
    stream_record(&w, TYPE_B, NULL, 0, NULL, 0);
    stream_record(&w, TYPE_A, "fixed...", 8, "rest", 4);
    assert_int_equal(stream_end(&w), 0);
    data = gather(&w, length);
    *used = w.length;
    stream_free(&w);
    return data;
}

/* ---- round trips ---- */

static void write_records(struct stream_writer *w, size_t nr, size_t (*size)(size_t record))
{
    stream_begin(w, LU_STREAM_VERSION);
    for (size_t i = 0; i < nr; i++) {
        size_t n = size(i);
        uint8_t *payload = malloc(n > 0 ? n : 1);

        fill(payload, n, i);
        switch (i % 3) {
        case 0:
            stream_record(w, TYPE_A, payload, n / 3, payload + n / 3, n - n / 3);
            break;
        case 1:
            stream_record(w, TYPE_B, payload, n, NULL, 0);
            break;
        default:
            stream_record_begin(w, TYPE_A, (uint32_t)n);
            for (size_t at = 0; at < n; at += 11) {
                stream_append(w, payload + at, MIN(n - at, 11));
            }
            stream_record_end(w);
            break;
        }
        free(payload);
    }
}

static void check_records(struct stream_reader *r, size_t nr, size_t (*size)(size_t record))
{
    struct stream_item item;

    for (size_t i = 0; i < nr; i++) {
        assert_int_equal(stream_next(r, &item), 1);
        assert_int_equal(item.type, i % 3 == 1 ? TYPE_B : TYPE_A);
        assert_int_equal(item.length, size(i));
        assert_int_equal((uintptr_t)item.data % 8, 0);
        for (size_t at = 0; at < item.length; at++) {
            assert_int_equal(item.data[at], pattern(i, at));
        }
    }
    assert_int_equal(stream_next(r, &item), 0);
    assert_int_equal(stream_next(r, &item), 0);
}

static void round_trip(size_t nr, size_t (*size)(size_t record))
{
    struct stream_writer w;
    struct stream_reader r;
    const char *why = "";
    uint8_t *data;
    size_t length;

    write_records(&w, nr, size);
    assert_int_equal(stream_end(&w), 0);
    assert_int_equal(heap_in_use_as(FRAME_STREAM), heap_in_use());
    data = gather(&w, &length);
    if (stream_open(&r, data, length, &why) != 0) {
        fail_msg("%s", why);
    }
    assert_int_equal(r.version, LU_STREAM_VERSION);
    check_records(&r, nr, size);
    stream_rewind(&r);
    check_records(&r, nr, size);
    free(data);
    stream_free(&w);
    assert_int_equal(heap_in_use(), 0);
}

static size_t growing(size_t record)
{
    return record;
}

static size_t large(size_t record)
{
    return record == 2 ? 3 * 1024 * 1024 : record * 4096;
}

static size_t phase;

static size_t with_phase(size_t record)
{
    return record == 0 ? 4000 + phase : 20;
}

static void test_stream__no_records__round_trips(void **state)
{
    (void)state;
    round_trip(0, growing);
}

static void test_stream__every_payload_size__round_trips(void **state)
{
    (void)state;
    round_trip(600, growing);
    heap_has_crc32 = false;
    round_trip(600, growing);
}

static void test_stream__several_list_pages__round_trips(void **state)
{
    (void)state;
    round_trip(9, large);
}

/* Headers, payload, padding and END come to lie at every place of a page boundary. */
static void test_stream__records_across_page_boundaries__round_trip(void **state)
{
    (void)state;
    for (phase = 0; phase < 130; phase++) {
        round_trip(2, with_phase);
        round_trip(1, with_phase);
    }
}

static void test_stream_begin__version__is_written(void **state)
{
    struct stream_writer w;
    struct lu_stream_header header;
    uint8_t *data;
    size_t length;

    (void)state;
    stream_begin(&w, 77);
    assert_int_equal(stream_end(&w), 0);
    data = gather(&w, &length);
    memcpy(&header, data, sizeof(header));
    assert_int_equal(header.version, 77);
    assert_int_equal(header.reserved, 0);
    free(data);
    stream_free(&w);
}

/* ---- writer's failures ---- */

static void test_stream_write__each_allocation_fails__sticks_and_leaks_nothing(void **state)
{
    long n = 0;
    int rc;

    (void)state;
    do {
        struct stream_writer w;

        heap_fail_after(n);
        write_records(&w, 100, growing);
        rc = stream_end(&w);
        assert_int_equal(rc, heap_in_use() == (size_t)n && rc != 0 ? -ENOMEM : 0);
        heap_fail_after(-1);
        if (rc != 0) {
            /* Memory that comes back does not mend a stream with a hole. */
            stream_record(&w, TYPE_A, "x", 1, NULL, 0);
            assert_int_equal(w.error, -ENOMEM);
            assert_int_equal(heap_in_use(), n);
        }
        stream_free(&w);
        assert_int_equal(heap_in_use(), 0);
        n++;
    } while (rc != 0);
    assert_true(n >= 4);
}

static void test_stream_write__list_page_fails__leaks_nothing(void **state)
{
    static uint8_t payload[PAGE_SIZE];

    (void)state;
    for (long n = 510; n < 516; n++) {
        struct stream_writer w;

        heap_fail_after(n);
        stream_begin(&w, 1);
        for (size_t i = 0; i < 520; i++) {
            stream_record(&w, TYPE_A, payload, sizeof(payload), NULL, 0);
        }
        assert_int_equal(stream_end(&w), -ENOMEM);
        stream_free(&w);
        assert_int_equal(heap_in_use(), 0);
    }
}

static void test_stream_append__wrong_amounts__are_bugs(void **state)
{
    struct stream_writer w;

    (void)state;
    stream_begin(&w, 1);
    stream_record_begin(&w, TYPE_A, 4);
    assert_true(HEAP_PANICS(stream_append(&w, "12345", 5)));
    stream_append(&w, "123", 3);
    assert_true(HEAP_PANICS(stream_record_end(&w)));
    assert_true(HEAP_PANICS(stream_record_begin(&w, TYPE_A, 4)));
    stream_append(&w, "4", 1);
    assert_true(HEAP_PANICS(stream_append(&w, "5", 1)));
    stream_record_end(&w);
    assert_int_equal(stream_end(&w), 0);
    stream_free(&w);
}

/* ---- reader: damage ---- */

static void test_stream_open__cut_at_each_byte__is_refused(void **state)
{
    size_t length;
    size_t used;
    uint8_t *data = small_stream(&length, &used);
    const char *why = "";

    (void)state;
    assert_int_equal(open_stream(data, length, &why), 0);
    /* Shorter than whole pages, in memory of just that size. */
    for (size_t n = 0; n < used + 8; n++) {
        uint8_t *cut = whole_pages(n > 0 ? n : 1);

        memcpy(cut, data, n);
        assert_int_equal(open_stream(cut, n, &why), -EBADMSG);
        free(cut);
    }
    /* Whole pages of which the rest was lost. */
    for (size_t n = used; n-- > 0;) {
        bool same = data[n] == 0;

        data[n] = 0;
        if (!same) {
            assert_true(open_stream(data, length, &why) < 0);
        }
    }
    free(data);
}

static void test_stream_open__each_bit_flipped__is_refused(void **state)
{
    size_t length;
    size_t used;
    uint8_t *data = small_stream(&length, &used);
    const char *why = "";

    (void)state;
    for (size_t bit = 0; bit < length * 8; bit += bit < used * 8 + 64 ? 1 : 61) {
        int rc;

        data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        rc = open_stream(data, length, &why);
        /* The version is bytes 8 to 11. */
        assert_int_equal(rc, bit / 32 == 2 ? -EPROTO : -EBADMSG);
        data[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    assert_int_equal(open_stream(data, length, &why), 0);
    free(data);
}

static void test_stream_open__page_lost_or_added__is_refused(void **state)
{
    struct stream_writer w;
    const char *why = "";
    uint8_t *data;
    uint8_t *more;
    size_t length;

    (void)state;
    write_records(&w, 200, growing);
    assert_int_equal(stream_end(&w), 0);
    data = gather(&w, &length);
    stream_free(&w);
    assert_int_equal(open_stream(data, length, &why), 0);
    assert_int_equal(open_stream(data, length - PAGE_SIZE, &why), -EBADMSG);
    more = whole_pages(length + PAGE_SIZE);
    memset(more, 0, length + PAGE_SIZE);
    memcpy(more, data, length);
    assert_int_equal(open_stream(more, length + PAGE_SIZE, &why), -EBADMSG);
    assert_non_null(strstr(why, "last page"));
    /* Two pages exchanged. */
    memcpy(more, data + PAGE_SIZE, PAGE_SIZE);
    memcpy(more + PAGE_SIZE, data, PAGE_SIZE);
    assert_int_equal(open_stream(more, length, &why), -EBADMSG);
    free(more);
    free(data);
}

/* ---- reader: streams that are wrong with a right checksum ---- */

struct raw {
    uint8_t *data;
    size_t used;
};

static void raw_begin(struct raw *s)
{
    struct lu_stream_header header = {.magic = LU_STREAM_MAGIC, .version = LU_STREAM_VERSION};

    s->data = whole_pages(2 * PAGE_SIZE);
    memset(s->data, 0, 2 * PAGE_SIZE);
    memcpy(s->data, &header, sizeof(header));
    s->used = sizeof(header);
}

static void raw_record(struct raw *s, uint32_t type, uint32_t length, const void *data, size_t n)
{
    struct lu_record record = {type, length};

    memcpy(s->data + s->used, &record, sizeof(record));
    memcpy(s->data + s->used + sizeof(record), data, n);
    s->used += align_up(sizeof(record) + n, 8);
}

static void raw_end_sized(struct raw *s, uint32_t length, uint32_t reserved)
{
    struct lu_rec_end end = {.crc = crc32c(0, s->data, s->used), .reserved = reserved};

    raw_record(s, LU_REC_END, length, &end, sizeof(end));
}

static void raw_end(struct raw *s)
{
    raw_end_sized(s, sizeof(struct lu_rec_end), 0);
}

static void good(struct raw *s)
{
    raw_record(s, TYPE_A, 3, "abc", 3);
    raw_end(s);
}

static void padded_with_rubbish(struct raw *s)
{
    raw_record(s, TYPE_A, 3, "abcd", 4);
    raw_end(s);
}

static void length_to_the_last_byte(struct raw *s)
{
    raw_record(s, TYPE_A, (uint32_t)(PAGE_SIZE - 24), "abc", 3);
    raw_end(s);
}

static void length_above_the_rest(struct raw *s)
{
    raw_record(s, TYPE_A, (uint32_t)(PAGE_SIZE - 23), "abc", 3);
    raw_end(s);
}

static void length_all_ones(struct raw *s)
{
    raw_record(s, TYPE_A, UINT32_MAX, "abc", 3);
    raw_end(s);
}

static void length_too_short(struct raw *s)
{
    raw_record(s, TYPE_A, 3, "abc\0\0\0\0\0and more of it....", 27);
    raw_end(s);
}

static void end_missing(struct raw *s)
{
    raw_record(s, TYPE_A, 3, "abc", 3);
}

static void end_doubled(struct raw *s)
{
    raw_end(s);
    raw_end(s);
}

static void end_early(struct raw *s)
{
    raw_end(s);
    raw_record(s, TYPE_A, 3, "abc", 3);
    raw_end(s);
}

static void end_too_short(struct raw *s)
{
    raw_end_sized(s, 4, 0);
}

static void end_too_long(struct raw *s)
{
    raw_end_sized(s, 16, 0);
}

static void end_empty(struct raw *s)
{
    raw_end_sized(s, 0, 0);
}

static void end_all_ones(struct raw *s)
{
    raw_end_sized(s, UINT32_MAX, 0);
}

static void end_reserved(struct raw *s)
{
    raw_end_sized(s, 8, 1);
}

static void end_optional(struct raw *s)
{
    struct lu_rec_end end = {.crc = crc32c(0, s->data, s->used)};

    raw_record(s, LU_REC_END | LU_REC_OPTIONAL, sizeof(end), &end, sizeof(end));
}

static void end_followed(struct raw *s)
{
    raw_end(s);
    s->data[PAGE_SIZE - 1] = 1;
}

static void end_at_the_page_end_cut(struct raw *s)
{
    raw_record(s, TYPE_A, (uint32_t)(PAGE_SIZE - 16 - 8 - 8), "", 0);
    s->used = PAGE_SIZE - 8;
    raw_end(s);
}

static void end_at_the_page_end(struct raw *s)
{
    raw_record(s, TYPE_A, (uint32_t)(PAGE_SIZE - 16 - 8 - 16), "", 0);
    s->used = PAGE_SIZE - 16;
    raw_end(s);
}

static void checksum_of_less(struct raw *s)
{
    struct lu_rec_end end = {.crc = crc32c(0, s->data, s->used)};

    raw_record(s, TYPE_A, 3, "abc", 3);
    raw_record(s, LU_REC_END, sizeof(end), &end, sizeof(end));
}

static void type_zero(struct raw *s)
{
    raw_record(s, 0, 0, "", 0);
    raw_end(s);
}

static void version_above(struct raw *s)
{
    s->data[8] = LU_STREAM_VERSION + 1;
    raw_end(s);
}

static void version_below(struct raw *s)
{
    s->data[8] = LU_STREAM_VERSION_MIN - 1;
    raw_end(s);
}

static void header_reserved(struct raw *s)
{
    s->data[12] = 1;
    raw_end(s);
}

static void test_stream_open__wrong_streams__are_refused(void **state)
{
    static const struct {
        const char *name;
        void (*make)(struct raw *s);
        int rc;
        const char *why;
    } cases[] = {
        {"good", good, 0, ""},
        {"end_at_the_page_end", end_at_the_page_end, 0, ""},
        {"padded_with_rubbish", padded_with_rubbish, -EBADMSG, "padding"},
        {"length_to_the_last_byte", length_to_the_last_byte, -EBADMSG, "no END"},
        {"length_above_the_rest", length_above_the_rest, -EBADMSG, "longer than"},
        {"length_all_ones", length_all_ones, -EBADMSG, "longer than"},
        {"length_too_short", length_too_short, -EBADMSG, ""},
        {"end_missing", end_missing, -EBADMSG, "type 0"},
        {"end_doubled", end_doubled, -EBADMSG, "follows END"},
        {"end_early", end_early, -EBADMSG, "follows END"},
        {"end_too_short", end_too_short, -EBADMSG, "wrong size"},
        {"end_too_long", end_too_long, -EBADMSG, "wrong size"},
        {"end_empty", end_empty, -EBADMSG, "wrong size"},
        {"end_all_ones", end_all_ones, -EBADMSG, "wrong size"},
        {"end_reserved", end_reserved, -EBADMSG, "reserved"},
        {"end_optional", end_optional, -EBADMSG, "type 0"},
        {"end_followed", end_followed, -EBADMSG, "follows END"},
        {"end_at_the_page_end_cut", end_at_the_page_end_cut, -EBADMSG, "wrong size"},
        {"checksum_of_less", checksum_of_less, -EBADMSG, "checksum"},
        {"type_zero", type_zero, -EBADMSG, "type 0"},
        {"version_above", version_above, -EPROTO, "version"},
        {"version_below", version_below, -EPROTO, "version"},
        {"header_reserved", header_reserved, -EBADMSG, "reserved"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *why = "";
        struct raw s;
        uint8_t *page;
        int rc;

        raw_begin(&s);
        cases[i].make(&s);
        page = whole_pages(PAGE_SIZE);
        memcpy(page, s.data, PAGE_SIZE);
        rc = open_stream(page, PAGE_SIZE, &why);
        if (rc != cases[i].rc || strstr(why, cases[i].why) == NULL) {
            fail_msg("%s: %d, %s", cases[i].name, rc, why);
        }
        free(page);
        free(s.data);
    }
}

static void test_stream_open__unaligned_data__is_refused(void **state)
{
    size_t length;
    size_t used;
    uint8_t *data = small_stream(&length, &used);
    uint8_t *odd = whole_pages(2 * PAGE_SIZE);
    const char *why = "";

    (void)state;
    memcpy(odd + 8, data, PAGE_SIZE);
    assert_int_equal(open_stream(odd + 8, PAGE_SIZE, &why), -EBADMSG);
    free(odd);
    free(data);
}

/* Unknown optional records are items like any other: the caller skips them. */
static void test_stream_next__unknown_optional__is_passed_on(void **state)
{
    size_t length;
    size_t used;
    uint8_t *data = small_stream(&length, &used);
    struct stream_reader r;
    struct stream_item item;
    const char *why = "";

    (void)state;
    assert_int_equal(stream_open(&r, data, length, &why), 0);
    assert_int_equal(stream_next(&r, &item), 1);
    assert_int_equal(item.length, 5);
    assert_memory_equal(item.data, "12345", 5);
    assert_int_equal(stream_next(&r, &item), 1);
    assert_int_equal(item.type, TYPE_B);
    assert_int_equal(item.length, 0);
    assert_int_equal(stream_next(&r, &item), 1);
    assert_int_equal(item.length, 12);
    assert_memory_equal(item.data, "fixed...rest", 12);
    assert_int_equal(stream_next(&r, &item), 0);
    free(data);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

/* What is there of a stream that is still written, then the rest of it. */
static void test_stream_open_part__cut_at_each_byte__records_so_far_or_refused(void **state)
{
    size_t length, used;
    uint8_t *data = small_stream(&length, &used);
    size_t end = used - sizeof(struct lu_record) - sizeof(struct lu_rec_end);
    const size_t ends[] = {16, 32, 40, 64};

    (void)state;
    assert_int_equal(end, ends[ARRAY_SIZE(ends) - 1]);
    for (size_t cut = 0, nr = 0; cut <= used; cut++) {
        uint8_t *part = whole_pages(length);
        struct stream_reader r, rest;
        struct stream_item item;
        const char *why = "";
        size_t left = ARRAY_SIZE(ends) - 1;

        memset(part, 0x5a, length);
        memcpy(part, data, cut);
        if (nr == ARRAY_SIZE(ends) || cut != ends[nr]) {
            assert_int_equal(stream_open_part(&r, part, cut, &why), -EBADMSG);
            assert_string_not_equal(why, "");
        } else {
            assert_int_equal(stream_open_part(&r, part, cut, &why), 0);
            for (size_t i = 0; i < nr; i++, left--) {
                assert_int_equal(stream_next(&r, &item), 1);
            }
            assert_int_equal(stream_next(&r, &item), 0);
            assert_int_equal(stream_open_rest(&rest, data, length, cut, &why), 0);
            while (left-- > 0) {
                assert_int_equal(stream_next(&rest, &item), 1);
            }
            assert_int_equal(stream_next(&rest, &item), 0);
            nr++;
        }
        free(part);
    }
    free(data);
}

static void test_stream_open_rest__one_bit_before_it__checksum(void **state)
{
    size_t length, used;
    uint8_t *data = small_stream(&length, &used);
    struct stream_reader r;
    const char *why = "";

    (void)state;
    for (size_t bit = 8 * sizeof(struct lu_stream_header); bit < 8 * 40; bit++) {
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(stream_open_rest(&r, data, length, 40, &why), -EBADMSG);
        assert_string_equal(why, "stream: checksum is wrong");
        data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(stream_open_rest(&r, data, length, length + 8, &why), -EBADMSG);
    assert_int_equal(stream_open_rest(&r, data, length, 40, &why), 0);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_stream__no_records__round_trips),
        TEST(test_stream__every_payload_size__round_trips),
        TEST(test_stream__several_list_pages__round_trips),
        TEST(test_stream__records_across_page_boundaries__round_trip),
        TEST(test_stream_begin__version__is_written),
        TEST(test_stream_write__each_allocation_fails__sticks_and_leaks_nothing),
        TEST(test_stream_write__list_page_fails__leaks_nothing),
        TEST(test_stream_append__wrong_amounts__are_bugs),
        TEST(test_stream_open__cut_at_each_byte__is_refused),
        TEST(test_stream_open__each_bit_flipped__is_refused),
        TEST(test_stream_open__page_lost_or_added__is_refused),
        TEST(test_stream_open__wrong_streams__are_refused),
        TEST(test_stream_open__unaligned_data__is_refused),
        TEST(test_stream_next__unknown_optional__is_passed_on),
        TEST(test_stream_open_part__cut_at_each_byte__records_so_far_or_refused),
        TEST(test_stream_open_rest__one_bit_before_it__checksum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
