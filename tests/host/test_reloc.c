/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/reloc.c, and relocate_pages() of arch/x86_64/relocator.asm on ordinary pages.
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
#include "hv/reloc.h"
#include "hv/seam.h"

#define DEST_PAGES 1500U /* with a WRITE64 for each: several list pages */

static uint8_t *dest_alloc(size_t pages)
{
    void *p = NULL;

    assert_int_equal(posix_memalign(&p, PAGE_SIZE, pages * PAGE_SIZE), 0);
    memset(p, 0xcc, pages * PAGE_SIZE);
    return p;
}

static paddr_t pa(const void *p)
{
    return (uintptr_t)p;
}

static const uint64_t *head(const struct reloc_list *list)
{
    return mfn_to_va(pa_to_mfn(list->head_pa));
}

static paddr_t source(uint8_t value)
{
    mfn_t mfn = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE);

    assert_true(mfn_valid(mfn));
    memset(mfn_to_va(mfn), value, PAGE_SIZE);
    return mfn_to_pa(mfn);
}

static bool page_is(const uint8_t *page, uint8_t value)
{
    for (size_t i = 0; i < PAGE_SIZE; i++) {
        if (page[i] != value) {
            return false;
        }
    }
    return true;
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_after(-1);
    assert_int_equal(heap_in_use(), 0);
    return 0;
}

/* ---- the relocator by hand-written lists ---- */

static void test_relocate_pages__each_tag__does_its_thing(void **state)
{
    uint8_t *dest = dest_alloc(6);
    uint8_t *src = dest_alloc(2);
    uint64_t *first = (uint64_t *)(void *)dest_alloc(1);
    uint64_t *second = (uint64_t *)(void *)dest_alloc(1);

    (void)state;
    for (size_t i = 0; i < 2 * PAGE_SIZE; i++) {
        src[i] = (uint8_t)(i * 7 + i / 256);
    }
    first[0] = pa(dest + PAGE_SIZE) | RELOC_DESTINATION;
    first[1] = pa(src) | RELOC_SOURCE;
    first[2] = pa(src + PAGE_SIZE) | RELOC_SOURCE;
    first[3] = pa(second) | RELOC_INDIRECTION;
    second[0] = RELOC_ZERO; /* the cursor went on through the indirection */
    second[1] = (pa(dest + 4 * PAGE_SIZE) + 8) | RELOC_WRITE64;
    second[2] = RELOC_DONE; /* a value, not an entry */
    second[3] = (pa(dest + 4 * PAGE_SIZE) + 16) | RELOC_WRITE64;
    second[4] = UINT64_MAX;
    second[5] = pa(dest + 5 * PAGE_SIZE) | RELOC_DESTINATION;
    second[6] = RELOC_ZERO;
    second[7] = RELOC_DONE;
    assert_int_equal(relocate_pages(first), 0);
    assert_true(page_is(dest, 0xcc));
    assert_memory_equal(dest + PAGE_SIZE, src, 2 * PAGE_SIZE);
    assert_true(page_is(dest + 3 * PAGE_SIZE, 0));
    assert_int_equal(*(uint64_t *)(void *)(dest + 4 * PAGE_SIZE), 0xcccccccccccccccc);
    assert_int_equal(*(uint64_t *)(void *)(dest + 4 * PAGE_SIZE + 8), RELOC_DONE);
    assert_int_equal(*(uint64_t *)(void *)(dest + 4 * PAGE_SIZE + 16), UINT64_MAX);
    assert_int_equal(*(uint64_t *)(void *)(dest + 4 * PAGE_SIZE + 24), 0xcccccccccccccccc);
    assert_true(page_is(dest + 5 * PAGE_SIZE, 0));
    free(dest);
    free(src);
    free(first);
    free(second);
}

static void test_relocate_pages__unknown_tag__stops_and_returns_the_entry(void **state)
{
    uint8_t *dest = dest_alloc(2);
    uint64_t list[8];

    (void)state;
    for (unsigned int tag = 0; tag < 8; tag += 7) {
        list[0] = pa(dest) | RELOC_DESTINATION;
        list[1] = RELOC_ZERO;
        list[2] = UINT64_C(0xfedcba9876543210) | tag;
        list[3] = RELOC_ZERO;
        list[4] = RELOC_DONE;
        assert_true(relocate_pages(list) == list[2]);
        assert_true(page_is(dest, 0));
        assert_true(page_is(dest + PAGE_SIZE, 0xcc));
    }
    free(dest);
}

/* ---- lists that reloc.c makes ---- */

static void test_reloc_done__empty_list__is_only_an_end(void **state)
{
    struct reloc_list list;

    (void)state;
    reloc_init(&list);
    assert_int_equal(reloc_done(&list), 0);
    assert_int_equal(head(&list)[0], RELOC_DONE);
    assert_int_equal(relocate_pages(head(&list)), 0);
    reloc_free(&list);
    reloc_free(&list); /* nothing left: no harm */
}

static void test_reloc_list__runs_of_pages__need_one_destination_each(void **state)
{
    uint8_t *dest = dest_alloc(5);
    struct reloc_list list;

    (void)state;
    reloc_init(&list);
    reloc_copy(&list, pa(dest), source(1));
    reloc_copy(&list, pa(dest) + PAGE_SIZE, source(2));
    reloc_zero(&list, pa(dest) + 2 * PAGE_SIZE);
    reloc_zero(&list, pa(dest) + 4 * PAGE_SIZE);
    assert_int_equal(reloc_done(&list), 0);
    assert_int_equal(list.used, 6);
    assert_int_equal(relocate_pages(head(&list)), 0);
    assert_true(page_is(dest, 1));
    assert_true(page_is(dest + PAGE_SIZE, 2));
    assert_true(page_is(dest + 2 * PAGE_SIZE, 0));
    assert_true(page_is(dest + 3 * PAGE_SIZE, 0xcc));
    assert_true(page_is(dest + 4 * PAGE_SIZE, 0));
    reloc_free(&list);
    free(dest);
}

/* Page i: backwards order, every third zeroed, a word of each written afterwards. */
static void fill_long_list(struct reloc_list *list, const uint8_t *dest)
{
    for (size_t i = DEST_PAGES; i-- > 0;) {
        if (i % 3 == 0) {
            reloc_zero(list, pa(dest + i * PAGE_SIZE));
        } else {
            mfn_t mfn = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE);

            if (mfn_valid(mfn)) {
                memset(mfn_to_va(mfn), (uint8_t)i, PAGE_SIZE);
                reloc_copy(list, pa(dest + i * PAGE_SIZE), mfn_to_pa(mfn));
            }
        }
        reloc_write64(list, pa(dest + i * PAGE_SIZE) + 8, i * 0x100000001);
    }
}

static void test_reloc_list__many_list_pages__all_done_in_order(void **state)
{
    uint8_t *dest = dest_alloc(DEST_PAGES);
    struct reloc_list list;

    (void)state;
    reloc_init(&list);
    fill_long_list(&list, dest);
    assert_int_equal(reloc_done(&list), 0);
    assert_true(heap_in_use() > DEST_PAGES * 2 / 3 + 8);
    assert_int_equal(relocate_pages(head(&list)), 0);
    for (size_t i = 0; i < DEST_PAGES; i++) {
        const uint8_t *page = dest + i * PAGE_SIZE;
        uint8_t value = i % 3 == 0 ? 0 : (uint8_t)i;
        uint64_t word;

        memcpy(&word, page + 8, sizeof(word));
        assert_int_equal(word, i * 0x100000001);
        assert_int_equal(page[0], value);
        assert_int_equal(page[PAGE_SIZE - 1], value);
    }
    reloc_free(&list);
    free(dest);
}

/* One more entry each time, so that every operation meets the end of a list page at every phase. */
static void test_reloc_list__each_length_around_a_page__is_terminated(void **state)
{
    uint64_t words[8];

    (void)state;
    for (size_t lead = 0; lead < 4; lead++) {
        for (size_t n = 250; n < 262; n++) {
            uint8_t *dest = dest_alloc(4);
            struct reloc_list list;

            reloc_init(&list);
            for (size_t i = 0; i < lead; i++) {
                reloc_zero(&list, pa(dest) + i * PAGE_SIZE);
            }
            for (size_t i = 0; i < n; i++) {
                reloc_write64(&list, pa(&words[i % 8]), i);
            }
            reloc_zero(&list, pa(dest));
            reloc_copy(&list, pa(dest) + 3 * PAGE_SIZE, source(9));
            assert_int_equal(reloc_done(&list), 0);
            memset(words, 0xff, sizeof(words));
            assert_int_equal(relocate_pages(head(&list)), 0);
            assert_int_equal(words[(n - 1) % 8], n - 1);
            assert_int_equal(words[n % 8], n - 8);
            assert_true(page_is(dest, 0));
            assert_true(page_is(dest + 3 * PAGE_SIZE, 9));
            reloc_free(&list);
            free(dest);
        }
    }
}

static void test_reloc_list__each_allocation_fails__sticks_and_leaks_nothing(void **state)
{
    uint8_t *dest = dest_alloc(DEST_PAGES);
    long n = 0;
    int rc;

    (void)state;
    do {
        struct reloc_list list;

        reloc_init(&list);
        heap_fail_after(n);
        fill_long_list(&list, dest);
        rc = reloc_done(&list);
        assert_true(rc == 0 || rc == -ENOMEM);
        heap_fail_after(-1);
        if (rc != 0) {
            size_t in_use = heap_in_use();

            /* What comes later is not listed, and a source page is not lost. */
            reloc_write64(&list, pa(dest), 1);
            reloc_copy(&list, pa(dest), source(1));
            assert_int_equal(heap_in_use(), in_use);
            assert_int_equal(reloc_done(&list), -ENOMEM);
        }
        reloc_free(&list);
        assert_int_equal(heap_in_use(), 0);
        n += n < 20 ? 1 : 97;
    } while (rc != 0);
    assert_true(n > 1000);
    free(dest);
}

static void test_reloc_truncate__marks__forgets_exactly_what_follows(void **state)
{
    static const size_t before[] = {0, 1, 100, 254, 255, 256, 600};
    static const size_t behind[] = {0, 1, 100, 255, 256, 600, 1100};

    (void)state;
    for (size_t b = 0; b < ARRAY_SIZE(before); b++) {
        for (size_t a = 0; a < ARRAY_SIZE(behind); a++) {
            uint64_t words[4] = {0};
            uint8_t *dest = dest_alloc(2);
            struct reloc_list list;
            struct reloc_list mark;
            size_t in_use;

            reloc_init(&list);
            for (size_t i = 0; i < before[b]; i++) {
                reloc_write64(&list, pa(&words[0]), i + 1);
            }
            mark = list;
            in_use = heap_in_use();
            for (size_t i = 0; i < behind[a]; i++) {
                reloc_write64(&list, pa(&words[1]), i + 1);
                if (i % 50 == 0) {
                    reloc_copy(&list, pa(dest), source(1));
                }
            }
            assert_int_equal(reloc_done(&list), 0);
            reloc_truncate(&list, &mark);
            assert_int_equal(heap_in_use(), in_use);
            /* And it can be continued. */
            reloc_write64(&list, pa(&words[2]), 77);
            reloc_copy(&list, pa(dest) + PAGE_SIZE, source(3));
            assert_int_equal(reloc_done(&list), 0);
            assert_int_equal(relocate_pages(head(&list)), 0);
            assert_int_equal(words[0], before[b]);
            assert_int_equal(words[1], 0);
            assert_int_equal(words[2], 77);
            assert_true(page_is(dest, 0xcc));
            assert_true(page_is(dest + PAGE_SIZE, 3));
            reloc_free(&list);
            assert_int_equal(heap_in_use(), 0);
            free(dest);
        }
    }
}

static void test_reloc_truncate__failed_list__is_good_again(void **state)
{
    uint64_t word = 0;
    struct reloc_list list;
    struct reloc_list mark;

    (void)state;
    reloc_init(&list);
    reloc_write64(&list, pa(&word), 5);
    mark = list;
    heap_fail_after(1);
    for (size_t i = 0; i < 2000; i++) {
        reloc_write64(&list, pa(&word), 6);
    }
    assert_int_equal(reloc_done(&list), -ENOMEM);
    heap_fail_after(-1);
    reloc_truncate(&list, &mark);
    assert_int_equal(heap_in_use(), 1);
    /* Even without reloc_done() the shortened list ends where it was cut. */
    assert_int_equal(relocate_pages(head(&list)), 0);
    assert_int_equal(word, 5);
    assert_int_equal(reloc_done(&list), 0);
    reloc_free(&list);
}

static void test_reloc_list__unaligned_addresses__are_a_bug(void **state)
{
    struct reloc_list list;

    (void)state;
    reloc_init(&list);
    assert_true(HEAP_PANICS(reloc_zero(&list, 0x1001)));
    assert_true(HEAP_PANICS(reloc_copy(&list, 0x1000, 0x2008)));
    assert_true(HEAP_PANICS(reloc_write64(&list, 0x1004, 1)));
    reloc_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_relocate_pages__each_tag__does_its_thing, teardown),
        cmocka_unit_test_teardown(test_relocate_pages__unknown_tag__stops_and_returns_the_entry,
                                  teardown),
        cmocka_unit_test_teardown(test_reloc_done__empty_list__is_only_an_end, teardown),
        cmocka_unit_test_teardown(test_reloc_list__runs_of_pages__need_one_destination_each,
                                  teardown),
        cmocka_unit_test_teardown(test_reloc_list__many_list_pages__all_done_in_order, teardown),
        cmocka_unit_test_teardown(test_reloc_list__each_length_around_a_page__is_terminated,
                                  teardown),
        cmocka_unit_test_teardown(test_reloc_list__each_allocation_fails__sticks_and_leaks_nothing,
                                  teardown),
        cmocka_unit_test_teardown(test_reloc_truncate__marks__forgets_exactly_what_follows,
                                  teardown),
        cmocka_unit_test_teardown(test_reloc_truncate__failed_list__is_good_again, teardown),
        cmocka_unit_test_teardown(test_reloc_list__unaligned_addresses__are_a_bug, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
