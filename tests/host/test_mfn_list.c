/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/mfn_list.c: chains as they should be, and every way to get them wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/heap.h"
#include "hv/errno.h"
#include "hv/seam.h"
#include "hv/stream.h"

#define MAX_LISTS 12

/* Stream pages are never touched by the walk, so they are only numbers: FIRST_PAGE + index. */
#define FIRST_PAGE UINT64_C(0x500000)

static struct lu_mfn_list_page *lists[MAX_LISTS];
static uint64_t nr_pages;
static uint64_t unusable; /* one frame that `usable` denies */

static paddr_t list_pa(size_t i)
{
    return mfn_to_pa(va_to_mfn(lists[i]));
}

static bool usable(mfn_t mfn)
{
    return mfn.v != unusable &&
           (heap_is(mfn, FRAME_STREAM) || (mfn.v >= FIRST_PAGE && mfn.v < FIRST_PAGE + nr_pages));
}

struct seen {
    uint64_t pages;
    uint64_t lists;
    uint64_t stop_at; /* page that visit does not accept */
};

static int visit(void *ctx, mfn_t mfn, uint64_t index, bool is_list)
{
    struct seen *seen = ctx;

    if (is_list) {
        assert_int_equal(index, seen->lists);
        seen->lists++;
        return 0;
    }
    if (index == seen->stop_at) {
        return -EBUSY;
    }
    assert_int_equal(index, seen->pages);
    assert_int_equal(mfn.v, FIRST_PAGE + index);
    seen->pages++;
    return 0;
}

/* A chain for `pages` stream pages; returns the number of its list pages. */
static size_t make_chain(uint64_t pages)
{
    size_t nr = (size_t)((pages + LU_MFN_LIST_ENTRIES - 1) / LU_MFN_LIST_ENTRIES);

    nr_pages = pages;
    unusable = 0;
    for (size_t i = 0; i < nr; i++) {
        lists[i] = mfn_to_va(buddy_alloc(0, FRAME_STREAM, OWNER_NONE));
        memset(lists[i], 0, PAGE_SIZE);
        for (size_t k = 0; k < LU_MFN_LIST_ENTRIES; k++) {
            uint64_t index = i * LU_MFN_LIST_ENTRIES + k;

            lists[i]->mfns[k] = index < pages ? FIRST_PAGE + index : 0;
        }
        if (i > 0) {
            lists[i - 1]->next_pa = list_pa(i);
        }
    }
    return nr;
}

static void drop_chain(size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        buddy_free(va_to_mfn(lists[i]), 0);
    }
    assert_int_equal(heap_in_use(), 0);
}

static int walk(uint64_t pages, struct seen *seen, const char **why)
{
    *seen = (struct seen){.stop_at = UINT64_MAX};
    return mfn_list_walk(list_pa(0), pages, NULL, usable, visit, seen, why);
}

static void test_mfn_list_walk__good_chains__visits_all_in_order(void **state)
{
    static const uint64_t sizes[] = {1, 2, 510, 511, 512, 1021, 1022, 1023, 5000};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t nr = make_chain(sizes[i]);
        const char *why = "";
        struct seen seen;

        assert_int_equal(walk(sizes[i], &seen, &why), 0);
        assert_int_equal(seen.pages, sizes[i]);
        assert_int_equal(seen.lists, nr);
        drop_chain(nr);
    }
}

/* ---- faults in a chain of 1200 pages (three list pages) ---- */

static void wrong_end(void)
{
    lists[2]->next_pa = 0xfff;
}

static void goes_on(void)
{
    lists[2]->next_pa = list_pa(1);
}

static void circle_of_one(void)
{
    lists[1]->next_pa = list_pa(1);
}

static void circle_of_all(void)
{
    for (size_t k = 0; k < LU_MFN_LIST_ENTRIES; k++) {
        lists[2]->mfns[k] = FIRST_PAGE;
    }
    lists[2]->next_pa = list_pa(0);
}

static void chain_ends_early(void)
{
    lists[1]->next_pa = 0;
}

static void next_not_aligned(void)
{
    lists[0]->next_pa += 8;
}

static void next_not_usable(void)
{
    unusable = va_to_mfn(lists[1]).v;
}

static void next_beyond_52_bits(void)
{
    lists[0]->next_pa = BIT(52);
}

static void page_missing(void)
{
    lists[2]->mfns[1200 - 1022 - 1] = 0;
}

static void page_missing_in_the_middle(void)
{
    lists[1]->mfns[17] = 0;
}

static void page_too_many(void)
{
    lists[2]->mfns[1200 - 1022] = FIRST_PAGE;
}

static void rubbish_at_the_end(void)
{
    lists[2]->mfns[LU_MFN_LIST_ENTRIES - 1] = 1;
}

static void page_not_usable(void)
{
    unusable = FIRST_PAGE + 777;
}

static void page_beyond_52_bits(void)
{
    lists[1]->mfns[3] = BIT(40);
}

static void page_invalid(void)
{
    lists[1]->mfns[3] = INVALID_MFN_X;
}

static int accept(void *ctx, mfn_t mfn, uint64_t index, bool is_list)
{
    (void)ctx;
    (void)mfn;
    (void)index;
    (void)is_list;
    return 0;
}

static void test_mfn_list_walk__faulty_chains__are_refused(void **state)
{
    static const struct {
        const char *name;
        void (*spoil)(void);
        uint64_t pages; /* as the breadcrumb says */
        const char *why;
    } cases[] = {
        {"wrong_end", wrong_end, 1200, "goes on"},
        {"goes_on", goes_on, 1200, "goes on"},
        {"circle_of_one", circle_of_one, UINT64_MAX, "circle"},
        {"circle_of_one, short", circle_of_one, 1022, "goes on"},
        {"circle_of_all", circle_of_all, UINT64_MAX, "circle"},
        {"chain_ends_early", chain_ends_early, 1200, "too short"},
        {"next_not_aligned", next_not_aligned, 1200, "list page is not usable"},
        {"next_not_usable", next_not_usable, 1200, "list page is not usable"},
        {"next_beyond_52_bits", next_beyond_52_bits, 1200, "list page is not usable"},
        {"page_missing", page_missing, 1200, "fewer"},
        {"page_missing_in_the_middle", page_missing_in_the_middle, 1200, "fewer"},
        {"page_too_many", page_too_many, 1200, "more"},
        {"rubbish_at_the_end", rubbish_at_the_end, 1200, "more"},
        {"page_not_usable", page_not_usable, 1200, "page is not usable"},
        {"page_beyond_52_bits", page_beyond_52_bits, 1200, "page is not usable"},
        {"page_invalid", page_invalid, 1200, "page is not usable"},
        {"one page fewer said", NULL, 1199, "more"},
        {"one page more said", NULL, 1201, "fewer"},
        {"a list page fewer said", NULL, 1022, "goes on"},
        {"none said", NULL, 0, "no pages"},
        {"far more said", NULL, UINT64_MAX, "fewer"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t nr = make_chain(1200);
        const char *why = "";
        int rc;

        if (cases[i].spoil != NULL) {
            cases[i].spoil();
        }
        rc = mfn_list_walk(list_pa(0), cases[i].pages, NULL, usable, accept, NULL, &why);
        if (rc != -EINVAL || strstr(why, cases[i].why) == NULL) {
            fail_msg("%s: %d, %s", cases[i].name, rc, why);
        }
        drop_chain(nr);
    }
}

static void test_mfn_list_walk__no_list__is_too_short(void **state)
{
    struct seen seen = {.stop_at = UINT64_MAX};
    const char *why = "";

    (void)state;
    assert_int_equal(mfn_list_walk(0, 1, NULL, usable, visit, &seen, &why), -EINVAL);
    assert_non_null(strstr(why, "too short"));
}

static void test_mfn_list_walk__visitor_refuses__its_result_comes_back(void **state)
{
    size_t nr = make_chain(600);
    struct seen seen = {.stop_at = 555};
    const char *why = "";

    (void)state;
    assert_int_equal(mfn_list_walk(list_pa(0), 600, NULL, usable, visit, &seen, &why), -EBUSY);
    assert_non_null(strstr(why, "not accepted"));
    assert_int_equal(seen.pages, 555);
    drop_chain(nr);
}

/* ---- checksum ---- */

/* CRC-32C, bit by bit. */
static uint32_t crc_of(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    crc = ~crc;
    for (size_t i = 0; i < len * 8; i++) {
        crc ^= (uint32_t)(p[i / 8] >> i % 8 & 1);
        crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static void test_mfn_list_crc__chains__all_pages_in_order(void **state)
{
    static const uint64_t sizes[] = {1, 511, 512, 2000};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t nr = make_chain(sizes[i]);
        const char *why = "";
        uint32_t want = 0, crc = mfn_list_crc(list_pa(0));
        struct seen seen = {.stop_at = UINT64_MAX};

        for (size_t k = 0; k < nr; k++) {
            want = crc_of(want, lists[k], PAGE_SIZE);
        }
        assert_int_equal(crc, want);
        assert_int_equal(mfn_list_walk(list_pa(0), sizes[i], &crc, usable, visit, &seen, &why), 0);
        assert_int_equal(seen.pages, sizes[i]);
        assert_int_equal(seen.lists, nr);
        drop_chain(nr);
    }
}

static int must_not_come(void *ctx, mfn_t mfn, uint64_t index, bool is_list)
{
    fail_msg("visited: 0x%llx, %llu", (unsigned long long)mfn.v, (unsigned long long)index);
    return accept(ctx, mfn, index, is_list);
}

/* Unused entries included; whatever the pointers become, the walk stays in usable memory. */
static void test_mfn_list_walk__any_bit_flipped__refused_before_a_visit(void **state)
{
    size_t nr = make_chain(600), by_crc = 0;
    uint32_t crc = mfn_list_crc(list_pa(0));
    const char *why = "";

    (void)state;
    for (size_t bit = 0; bit < nr * PAGE_SIZE * 8; bit++) {
        uint8_t *byte = (uint8_t *)lists[bit / (PAGE_SIZE * 8)] + bit / 8 % PAGE_SIZE;
        int rc;

        *byte ^= (uint8_t)(1U << bit % 8);
        rc = mfn_list_walk(list_pa(0), 600, &crc, usable, must_not_come, NULL, &why);
        *byte ^= (uint8_t)(1U << bit % 8);
        assert_true(rc == -EBADMSG || (rc == -EINVAL && bit % (PAGE_SIZE * 8) < 64));
        by_crc += rc == -EBADMSG;
    }
    assert_true(by_crc >= nr * (PAGE_SIZE * 8 - 64));
    crc ^= 1;
    assert_int_equal(mfn_list_walk(list_pa(0), 600, &crc, usable, must_not_come, NULL, &why),
                     -EBADMSG);
    assert_non_null(strstr(why, "checksum"));
    drop_chain(nr);
}

/* Chains that do not end are no longer followed than the breadcrumb's number of pages. */
static void test_mfn_list_walk__faulty_chain_and_a_checksum__refused_before_a_visit(void **state)
{
    static void (*const spoils[])(void) = {
        wrong_end,        goes_on,          circle_of_one,   circle_of_all,
        chain_ends_early, next_not_aligned, next_not_usable, next_beyond_52_bits,
    };
    static const uint64_t said[] = {1200, UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(spoils); i++) {
        size_t nr = make_chain(1200);
        uint32_t crc = mfn_list_crc(list_pa(0));
        const char *why = "";

        spoils[i / 2]();
        assert_int_not_equal(
            mfn_list_walk(list_pa(0), said[i % 2], &crc, usable, must_not_come, NULL, &why), 0);
        drop_chain(nr);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mfn_list_walk__good_chains__visits_all_in_order),
        cmocka_unit_test(test_mfn_list_walk__faulty_chains__are_refused),
        cmocka_unit_test(test_mfn_list_walk__no_list__is_too_short),
        cmocka_unit_test(test_mfn_list_walk__visitor_refuses__its_result_comes_back),
        cmocka_unit_test(test_mfn_list_crc__chains__all_pages_in_order),
        cmocka_unit_test(test_mfn_list_walk__any_bit_flipped__refused_before_a_visit),
        cmocka_unit_test(test_mfn_list_walk__faulty_chain_and_a_checksum__refused_before_a_visit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
