/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/breadcrumb.c, written by the real relocator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/heap.h"
#include "hv/breadcrumb.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define NONCE UINT64_C(0x1122334455667788)

static struct lu_handover page;

static void emit_into(struct reloc_list *list)
{
    reloc_init(list);
    assert_int_equal(breadcrumb_emit(list, (uintptr_t)&page, 0x123456000, 789, NONCE), 0);
    assert_int_equal(reloc_done(list), 0);
}

static void leave_breadcrumb(void)
{
    struct reloc_list list;

    breadcrumb_reset(&page);
    emit_into(&list);
    assert_int_equal(relocate_pages(mfn_to_va(pa_to_mfn(list.head_pa))), 0);
    reloc_free(&list);
}

static void assert_none(uint64_t nonce, const char *reason)
{
    struct lu_breadcrumb b = {.magic = 7};
    const char *why = "";

    assert_int_equal(breadcrumb_find(&page, nonce, &b, &why), -ENOENT);
    assert_non_null(strstr(why, reason));
    assert_int_equal(b.magic, 7);
}

static int setup(void **state)
{
    (void)state;
    memset(&page, 0xcc, sizeof(page));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    heap_fail_after(-1);
    assert_int_equal(heap_in_use(), 0);
    return 0;
}

static void test_breadcrumb_find__after_the_relocator__gives_the_pointer(void **state)
{
    struct lu_breadcrumb b;
    const char *why = "";

    (void)state;
    leave_breadcrumb();
    assert_int_equal(page.version, 1);
    assert_int_equal(page.stage, LU_STAGE_JUMPED);
    assert_int_equal(breadcrumb_find(&page, NONCE, &b, &why), 0);
    assert_int_equal(b.mfn_list_pa, 0x123456000);
    assert_int_equal(b.stream_pages, 789);
    assert_int_equal(b.nonce, NONCE);
}

static void test_breadcrumb_find__garbage_or_fresh_page__finds_none(void **state)
{
    (void)state;
    assert_none(NONCE, "no magic");
    memset(&page, 0, sizeof(page));
    assert_none(NONCE, "no magic");
    breadcrumb_reset(&page);
    assert_int_equal(page.magic, LU_HANDOVER_MAGIC);
    assert_int_equal(page.stage, LU_STAGE_NONE);
    assert_none(NONCE, "no magic");
}

static void test_breadcrumb_reset__stamps_and_recorder__stay(void **state)
{
    (void)state;
    page.stamps.stop = 123;
    page.recorder = (struct lu_recorder_ref){0x10000, 0x10000, 5};
    leave_breadcrumb();
    assert_int_equal(page.stamps.stop, 123);
    assert_int_equal(page.recorder.pa, 0x10000);
    assert_int_equal(page.recorder.bytes, 0x10000);
    assert_int_equal(page.recorder.check, 5);
    for (size_t i = 0; i < ARRAY_SIZE(page.reserved); i++) {
        assert_int_equal(page.reserved[i], 0);
    }
}

static void test_breadcrumb_find__another_nonce__is_stale(void **state)
{
    (void)state;
    leave_breadcrumb();
    assert_none(NONCE + 1, "nonce");
    assert_none(0, "nonce");
}

static void test_breadcrumb_find__each_bit_flipped__is_refused(void **state)
{
    uint8_t *bytes = (uint8_t *)&page.breadcrumb;

    (void)state;
    leave_breadcrumb();
    for (size_t bit = 0; bit < 8 * sizeof(page.breadcrumb); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
        assert_none(NONCE, bit < 64 ? "no magic" : "check field");
        bytes[bit / 8] ^= (uint8_t)(1U << (bit % 8));
    }
    page.version = 2;
    assert_none(NONCE, "version");
    page.version = 1;
    page.magic ^= 1;
    assert_none(NONCE, "no magic");
}

static void test_breadcrumb_clear__found_one__is_never_found_again(void **state)
{
    (void)state;
    leave_breadcrumb();
    page.stage = LU_STAGE_RUNNING;
    breadcrumb_clear(&page);
    assert_none(NONCE, "no magic");
    assert_int_equal(page.magic, LU_HANDOVER_MAGIC);
    assert_int_equal(page.stage, LU_STAGE_RUNNING);
}

/* The writes one after another: until the very last there is no breadcrumb. */
static void test_breadcrumb_emit__cut_after_each_write__magic_comes_last(void **state)
{
    struct reloc_list list;
    struct lu_breadcrumb b;
    const char *why;
    size_t writes;

    (void)state;
    emit_into(&list);
    writes = list.used / 2;
    for (size_t n = 0; n <= writes; n++) {
        uint64_t was = list.page[2 * n];

        breadcrumb_reset(&page);
        list.page[2 * n] = RELOC_DONE;
        assert_int_equal(relocate_pages(list.page), 0);
        assert_int_equal(breadcrumb_find(&page, NONCE, &b, &why), n == writes ? 0 : -ENOENT);
        list.page[2 * n] = was;
    }
    reloc_free(&list);
}

static void test_breadcrumb_emit__no_memory__says_so(void **state)
{
    struct reloc_list list;

    (void)state;
    reloc_init(&list);
    heap_fail_after(0);
    assert_int_equal(breadcrumb_emit(&list, (uintptr_t)&page, 0x1000, 1, NONCE), -ENOMEM);
    assert_int_equal(reloc_done(&list), -ENOMEM);
    reloc_free(&list);
}

static void test_breadcrumb_emit__nonce_zero__is_a_bug(void **state)
{
    struct reloc_list list;

    (void)state;
    reloc_init(&list);
    assert_true(HEAP_PANICS((void)!breadcrumb_emit(&list, (uintptr_t)&page, 0x1000, 1, 0)));
    reloc_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_breadcrumb_find__after_the_relocator__gives_the_pointer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_find__garbage_or_fresh_page__finds_none,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_reset__stamps_and_recorder__stay, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_find__another_nonce__is_stale, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_find__each_bit_flipped__is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_clear__found_one__is_never_found_again,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_breadcrumb_emit__cut_after_each_write__magic_comes_last, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_emit__no_memory__says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(test_breadcrumb_emit__nonce_zero__is_a_bug, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
