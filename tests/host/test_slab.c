/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small objects: sizes, alignment, zeroing, traces, pages given back, failures.
 */
#include "hv/slab.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mm_boot.h"
#include "hv/seam.h"

#define REGION MIB(8)
#define REGION_END MIB(16)

static uint64_t pages_at_start;

static int setup(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    fake_machine_reset();
    fake_machine_add_ram(0, MIB(64));
    memset(fake_va(REGION), 0xa5, REGION_END - REGION);
    assert_int_equal(fake_mm_boot(REGION, REGION_END, REGION + PAGE_SIZE, REGION + MIB(4)), 0);
    fake_mm_open();
    pages_at_start = pool_used();
    return 0;
}

static bool all_bytes(const void *p, size_t bytes, unsigned char value)
{
    const unsigned char *c = p;

    for (size_t i = 0; i < bytes; i++) {
        if (c[i] != value) {
            return false;
        }
    }
    return true;
}

static void test_kzalloc__every_size__aligned_and_zeroed_even_when_reused(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes <= 9000; bytes += bytes < 300 ? 1 : 61) {
        for (unsigned int round = 0; round < 2; round++) {
            void *p = kzalloc(bytes);

            assert_non_null(p);
            assert_true(is_aligned((uintptr_t)p, bytes > 32 ? 64 : 32));
            assert_true(all_bytes(p, bytes, 0));
            memset(p, 0x5a, bytes);
            kfree(p);
        }
    }
    assert_int_equal(pool_used(), pages_at_start);
    assert_int_equal(fake_vmap_mapped(), 0);
}

static void test_kzalloc__zero_bytes__null(void **state)
{
    (void)state;
    assert_null(kzalloc(0));
    kfree(NULL);
    assert_int_equal(pool_used(), pages_at_start);
}

static void test_kzalloc__4032_bytes__one_page_and_no_vmap(void **state)
{
    (void)state;
    void *p = kzalloc(4032);
    assert_int_equal(pool_used(), pages_at_start + 1);
    assert_int_equal(fake_vmap_mapped(), 0);
    void *q = kzalloc(4033);
    assert_int_equal(fake_vmap_mapped(), 1);
    kfree(p);
    kfree(q);
    assert_int_equal(pool_used(), pages_at_start);
}

static void test_kzalloc__1984_bytes__two_per_page(void **state)
{
    (void)state;
    void *p[4];
    for (unsigned int i = 0; i < 4; i++) {
        p[i] = kzalloc(1984);
    }
    assert_int_equal(pool_used(), pages_at_start + 2);
    for (unsigned int i = 0; i < 4; i++) {
        kfree(p[i]);
    }
    assert_int_equal(pool_used(), pages_at_start);
}

static void test_kfree__of_a_full_slab__it_is_used_again(void **state)
{
    (void)state;
    void *p[126];

    for (unsigned int i = 0; i < 126; i++) {
        p[i] = kzalloc(64);
    }
    assert_int_equal(pool_used(), pages_at_start + 2);
    kfree(p[5]);
    kfree(p[120]);
    p[5] = kzalloc(64);
    p[120] = kzalloc(64);
    assert_int_equal(pool_used(), pages_at_start + 2);
    for (unsigned int i = 0; i < 126; i++) {
        kfree(p[i]);
    }
    assert_int_equal(pool_used(), pages_at_start);
}

struct held {
    unsigned char *p;
    size_t bytes;
    unsigned char fill;
};

static void test_kzalloc_kfree__random_traces__contents_kept_and_pages_back(void **state)
{
    (void)state;
    struct held *held = malloc(3000 * sizeof(*held));

    for (unsigned int seed = 0; seed < 6; seed++) {
        size_t nr = 0;

        fake_random_seed(seed);
        for (unsigned int i = 0; i < 6000; i++) {
            bool grow = i % 3000 < 1800 ? random_u64() % 3 != 0 : random_u64() % 3 == 0;

            if (grow && nr < 3000) {
                struct held h = {.fill = (unsigned char)(1 + random_u64() % 255)};

                h.bytes = 1 + random_u64() % (seed % 2 == 0 ? 200 : 4500);
                h.p = kzalloc(h.bytes);
                assert_non_null(h.p);
                assert_true(all_bytes(h.p, h.bytes, 0));
                memset(h.p, h.fill, h.bytes);
                held[nr++] = h;
            } else if (nr > 0) {
                size_t at = random_u64() % nr;

                assert_true(all_bytes(held[at].p, held[at].bytes, held[at].fill));
                kfree(held[at].p);
                held[at] = held[--nr];
            }
        }
        while (nr > 0) {
            nr--;
            assert_true(all_bytes(held[nr].p, held[nr].bytes, held[nr].fill));
            kfree(held[nr].p);
        }
        assert_int_equal(pool_used(), pages_at_start);
        assert_int_equal(fake_vmap_mapped(), 0);
    }
    free(held);
}

static void test_kzalloc__allocation_failures__null_and_no_leak(void **state)
{
    (void)state;
    static const size_t sizes[] = {10, 64, 500, 4032, 5000, 50000};

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        for (long n = 0;; n++) {
            fake_fail_alloc_after(n);
            void *p = kzalloc(sizes[i]);
            bool failed = fake_fail_hit();
            fake_fail_alloc_after(-1);
            assert_int_equal(p == NULL, failed);
            kfree(p);
            assert_int_equal(pool_used(), pages_at_start);
            if (!failed) {
                break;
            }
        }
    }
}

static void test_kzalloc__until_memory_is_out__null_then_all_back(void **state)
{
    (void)state;
    uint64_t free_frames = buddy_free_frames();
    uint64_t left = boot_alloc_left();
    void **last = NULL;
    size_t nr = 0;

    /* A chain through the objects: the test's own memory is not needed. */
    for (void **p; (p = kzalloc(4000)) != NULL; last = p, nr++) {
        *p = last;
    }
    assert_true(nr > MIB(58) / PAGE_SIZE);
    assert_null(kzalloc(100000));
    while (last != NULL) {
        void **next = *last;

        kfree(last);
        last = next;
    }
    assert_int_equal(pool_used(), pages_at_start);
    assert_int_equal(buddy_free_frames(), free_frames);
    assert_int_equal(boot_alloc_left(), left);
}

static void test_kfree__not_an_object__panics(void **state)
{
    char *volatile p = kzalloc(100);
    assert_true(FAKE_PANICS(kfree(p + 8)));
    setup(state);
    p = kzalloc(100);
    assert_true(FAKE_PANICS(kfree((char *)align_down((uintptr_t)p, PAGE_SIZE))));
    setup(state);
    p = pool_alloc();
    assert_true(FAKE_PANICS(kfree(p + 64)));
    setup(state);
    p = kzalloc(100);
    assert_non_null(kzalloc(100));
    kfree(p);
    assert_true(FAKE_PANICS(kfree(p)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_kzalloc__every_size__aligned_and_zeroed_even_when_reused,
                               setup),
        cmocka_unit_test_setup(test_kzalloc__zero_bytes__null, setup),
        cmocka_unit_test_setup(test_kzalloc__4032_bytes__one_page_and_no_vmap, setup),
        cmocka_unit_test_setup(test_kzalloc__1984_bytes__two_per_page, setup),
        cmocka_unit_test_setup(test_kfree__of_a_full_slab__it_is_used_again, setup),
        cmocka_unit_test_setup(test_kzalloc_kfree__random_traces__contents_kept_and_pages_back,
                               setup),
        cmocka_unit_test_setup(test_kzalloc__allocation_failures__null_and_no_leak, setup),
        cmocka_unit_test_setup(test_kzalloc__until_memory_is_out__null_then_all_back, setup),
        cmocka_unit_test_setup(test_kfree__not_an_object__panics, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
