/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot modules: frames claimed, images kept, the rest given back.
 */
#include "hv/modules.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mb2_block.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/errno.h"
#include "hv/frametable.h"

static struct mb2_block block;
static struct boot_info info;

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot_closed(0, true);
    block_begin(&block);
    return 0;
}

static void module(uint32_t start, uint32_t end, const char *cmdline)
{
    block_module(&block, start, end, cmdline);
}

static void parse(void)
{
    const struct e820 *map = fake_machine_e820();
    const char *why = "";

    block_mmap(&block, map->ranges, map->nr, 0);
    block_end(&block);
    if (mb2_parse(block.bytes, block.used, &info, &why) != 0) {
        fail_msg("%s", why);
    }
}

static void open_heap(void)
{
    while (!buddy_open_step(~0U)) {
    }
}

static void test_module_is__first_word__compared_whole(void **state)
{
    (void)state;
    assert_true(module_is("image", "image"));
    assert_true(module_is("  image name=x", "image"));
    assert_false(module_is("images", "image"));
    assert_false(module_is("imag", "image"));
    assert_false(module_is("x image", "image"));
    assert_false(module_is("", "image"));
}

static void test_keep_images__images_kept_the_rest_free(void **state)
{
    (void)state;
    module(0x300000, 0x305001, "image first");
    module(0x500000, 0x700000, "guest name=x");
    module(0x800000, 0x801000, "image second with words");
    module(0x802000, 0x802001, "module of=x");
    parse();
    modules_claim(&info);
    assert_int_equal(frametable_count(FRAME_MODULE), 6 + 512 + 1 + 1);
    open_heap();
    modules_keep_images(&info);
    assert_int_equal(frametable_count(FRAME_MODULE), 6 + 1);
    assert_int_equal(modules_images(), 2);
    assert_int_equal(modules_image(0)->start, 0x300000);
    assert_int_equal(modules_image(0)->bytes, 0x5001);
    assert_string_equal(modules_image(0)->cmdline, "image first");
    assert_string_equal(modules_image(1)->cmdline, "image second with words");
    assert_null(modules_image(2));
    assert_null(modules_image(UINT32_MAX));
    assert_int_equal(frametable_get(mfn_from(0x305)).state, FRAME_MODULE);
    assert_int_equal(frametable_get(mfn_from(0x306)).state, FRAME_FREE);
    assert_int_equal(frametable_get(mfn_from(0x500)).state, FRAME_FREE);
    assert_int_equal(frametable_get(mfn_from(0x802)).state, FRAME_FREE);
}

/* The heap does not take what a module lies in. */
static void test_claim__heap_opened__no_module_frame_handed_out(void **state)
{
    (void)state;
    module(0x300000, 0x380000, "guest");
    parse();
    modules_claim(&info);
    open_heap();
    for (mfn_t m; mfn_valid(m = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE));) {
        assert_true(m.v < 0x300 || m.v >= 0x380);
    }
    modules_keep_images(&info);
    assert_int_equal(buddy_free_frames(), 0x80);
}

static void test_claim__impossible_places__panic(void **state)
{
    static const struct {
        uint32_t start, end;
    } rows[] = {
        {WORLD_REGION, WORLD_REGION + 1},      /* in the region */
        {MIB(40), MIB(40) + 1},                /* no RAM */
        {MIB(64) - PAGE_SIZE, MIB(64) + 1},    /* reaches out of it */
        {0, 16},                               /* frame 0 */
        {0x300ff0, 0x300fff},                  /* in the page of another one */
    };

    (void)state;
    for (volatile size_t i = 0; i < ARRAY_SIZE(rows); i++) { /* FAKE_PANICS() is a setjmp() */
        (void)setup(NULL);
        module(0x300000, 0x300100, "guest");
        module(rows[i].start, rows[i].end, "guest");
        parse();
        assert_true(FAKE_PANICS(modules_claim(&info)));
        assert_true(fake_printed("multiboot2: module 1 at 0x"));
    }
}

/* On a bad page: the boot goes on, an image there is not kept, its good frames come back. */
static void test_claim__bad_page__survived_and_the_image_dropped(void **state)
{
    paddr_t bad = WORLD_BAD_MFN << PAGE_SHIFT;

    (void)state;
    module((uint32_t)bad - 0x2000, (uint32_t)bad + 0x2000, "image damaged");
    module(0x300000, 0x301000, "image good");
    parse();
    modules_claim(&info);
    assert_int_equal(frametable_count(FRAME_MODULE), 3 + 1);
    assert_int_equal(frametable_get(mfn_from(WORLD_BAD_MFN)).state, FRAME_BAD);
    open_heap();
    modules_keep_images(&info);
    assert_int_equal(modules_images(), 1);
    assert_string_equal(modules_image(0)->cmdline, "image good");
    assert_int_equal(frametable_count(FRAME_MODULE), 1);
    assert_int_equal(frametable_count(FRAME_BAD), 1);
    assert_true(fake_printed("bad page"));
}

static void test_keep_images__out_of_memory__dropped_and_given_back(void **state)
{
    (void)state;
    for (long n = 0; n < 2; n++) {
        (void)setup(NULL);
        module(0x300000, 0x301000, "image one");
        parse();
        modules_claim(&info);
        open_heap();
        struct world_count before = world_count();
        fake_fail_alloc_after(n);
        modules_keep_images(&info);
        fake_fail_alloc_after(-1);
        assert_int_equal(modules_images(), 0);
        assert_int_equal(frametable_count(FRAME_MODULE), 0);
        assert_int_equal(frametable_count(FRAME_FREE), before.frames[FRAME_FREE] + 1);
        struct world_count after = world_count();
        assert_true(after.pool >= before.pool); /* a table may have come back as well */
    }
}

static void test_add_image__lengths__copied_and_terminated(void **state)
{
    (void)state;
    open_heap();
    assert_int_equal(modules_add_image(0x1000, 5, "image xyz", 7), 0);
    assert_string_equal(modules_image(0)->cmdline, "image x");
    assert_int_equal(modules_add_image(0x2000, 6, "", 0), 0);
    assert_string_equal(modules_image(1)->cmdline, "");
    assert_int_equal(modules_images(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_module_is__first_word__compared_whole, setup),
        cmocka_unit_test_setup(test_keep_images__images_kept_the_rest_free, setup),
        cmocka_unit_test_setup(test_claim__heap_opened__no_module_frame_handed_out, setup),
        cmocka_unit_test_setup(test_claim__impossible_places__panic, setup),
        cmocka_unit_test_setup(test_claim__bad_page__survived_and_the_image_dropped, setup),
        cmocka_unit_test_setup(test_keep_images__out_of_memory__dropped_and_given_back, setup),
        cmocka_unit_test_setup(test_add_image__lengths__copied_and_terminated, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
