/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the flight recorder lies: made at cold boot, found after a reset, handed over by updates,
 * given up and made anew around images that do not know it.
 */
#include "fakes/whole_update.h"

#include "fakes/recorded.h"

#include "hv/crc32c.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/recorder.h"

#define PLACE (WORLD_REGION - RECORDER_BYTES) /* where a cold boot puts it */
#define OTHER MIB(40) /* RAM that nothing else uses, behind a reserved page */

/* The texts of all entries, one line each. */
static const char *texts(void)
{
    static char all[8192];
    struct lu_log_entry e;
    uint64_t from = 0;
    size_t len = 0;

    while (recorder_read(&from, &e)) {
        len += fmt_str(all + len, sizeof(all) - len, "%.*s\n", (int)e.length, e.text);
    }
    all[len] = '\0';
    return all;
}

static void seal(struct lu_recorder_ref *r)
{
    r->check = crc32c(0, r, offsetof(struct lu_recorder_ref, check));
}

/* The machine is reset: RAM keeps what it holds. The loader's next boot. */
static void reset(void)
{
    size_t bytes;
    const void *block = world_info(&bytes);

    forget_image();
    world_boot_image(0, block, bytes, own_start(0), true);
    fake_log_clear();
    recorder_report();
}

static void assert_place(paddr_t pa)
{
    struct frame_info f = frametable_get(pa_to_mfn(pa));

    assert_true(recorder_attached());
    assert_int_equal(f.state, FRAME_RECORDER);
    assert_int_equal(f.head.v, pa >> PAGE_SHIFT);
    assert_int_equal(f.order, RECORDER_ORDER);
    assert_int_equal(frametable_count(FRAME_RECORDER), BIT(RECORDER_ORDER));
    assert_int_equal(handover()->recorder.pa, pa);
    assert_int_equal(handover()->recorder.bytes, RECORDER_BYTES);
    assert_audit_ok();
}

static void test_cold__first_boot__below_the_region(void **state)
{
    (void)state;
    assert_place(PLACE);
    assert_int_equal(recorder_boot(), 1);
    assert_int_equal(recorded_count(), 0);
    fake_log_clear();
    recorder_report();
    assert_string_equal(fake_log(), "");
}

static void test_cold__after_a_reset__goes_on(void **state)
{
    (void)state;
    recorder_text("panic: cpu=0 phase", 18);
    recorder_text("one", 3);
    reset();
    assert_place(PLACE);
    assert_int_equal(recorder_boot(), 2);
    assert_string_equal(texts(), "panic: cpu=0 phase\none\n");
    assert_true(fake_printed("recorder: 2 entries of earlier boots"));
    assert_true(fake_printed("recorder: the last boot: 1 "));
    assert_true(fake_printed(" line panic: cpu=0 phase"));
    recorder_text("two", 3);
    reset(); /* the panic was not of the boot before this one */
    assert_int_equal(recorder_boot(), 3);
    assert_true(fake_printed("recorder: 3 entries of earlier boots"));
    assert_false(fake_printed("the last boot"));
}

/* A reset in an update, wherever: both images have written. */
static void test_cold__page_or_ring_damaged__a_new_one(void **state)
{
    struct lu_recorder_ref good = handover()->recorder;

    (void)state;
    for (unsigned int bit = 0; bit < 8 * sizeof(good); bit++) {
        uint8_t *byte = (uint8_t *)&handover()->recorder + bit / 8;

        recorder_text("of this boot", 12);
        *byte ^= (uint8_t)(1U << bit % 8);
        reset();
        assert_place(PLACE);
        assert_int_equal(recorded_count(), 0);
        assert_false(fake_printed("recorder"));
    }
    for (unsigned int bit = 0; bit < 8 * offsetof(struct lu_log_header, next); bit++) {
        uint8_t *byte = (uint8_t *)fake_va(PLACE) + bit / 8;

        recorder_text("of this boot", 12);
        *byte ^= (uint8_t)(1U << bit % 8);
        reset();
        assert_place(PLACE);
        assert_int_equal(recorded_count(), 0);
    }
}

/* A reference that is whole, and leads to what is not the recorder's. */
static void test_cold__memory_of_others__left_alone(void **state)
{
    static const struct lu_recorder_ref refs[] = {
        {0, RECORDER_BYTES, 0},
        {WORLD_REGION, RECORDER_BYTES, 0},
        {WORLD_REGION + MIB(4), RECORDER_BYTES, 0},
        {WORLD_BAD_MFN << PAGE_SHIFT, PAGE_SIZE, 0},
        {OTHER, PAGE_SIZE, 0},
        {MIB(64), RECORDER_BYTES, 0},
        {GIB(4) - RECORDER_BYTES, RECORDER_BYTES, 0},
        {0 - RECORDER_BYTES, RECORDER_BYTES, 0},
        {BIT(52), RECORDER_BYTES, 0},
        {MIB(32) + PAGE_SIZE, RECORDER_BYTES, 0},
        {MIB(32), 3 * PAGE_SIZE, 0},
        {MIB(32), 0, 0},
        {MIB(32), 512, 0},
        {MIB(32), BIT(63), 0},
        {BIT(31), BIT(31), 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refs); i++) {
        handover()->recorder = refs[i];
        seal(&handover()->recorder);
        reset();
        assert_place(PLACE);
        assert_int_equal(recorded_count(), 0);
    }
}

static void test_cold__ring_of_another_place_and_size__taken(void **state)
{
    (void)state;
    recorder_create(fake_va(MIB(32)), KIB(256));
    recorder_text("elsewhere", 9);
    handover()->recorder = (struct lu_recorder_ref){MIB(32), KIB(256), 0};
    seal(&handover()->recorder);
    reset();
    assert_string_equal(texts(), "elsewhere\n");
    assert_int_equal(frametable_count(FRAME_RECORDER), KIB(256) >> PAGE_SHIFT);
    assert_int_equal(frametable_get(pa_to_mfn(MIB(32))).state, FRAME_RECORDER);
    assert_int_equal(handover()->recorder.pa, MIB(32));
    assert_audit_ok();
}

/* ---- updates ---- */

static unsigned int add_image(uint8_t id, uint32_t newest)
{
    make_elf(id);
    elf.notes.note.stream_min = 1;
    elf.notes.note.stream_max = newest;
    (void)add_sealed("image");
    return modules_images() - 1;
}

/* Up to where the next image is entered. */
static void jump(unsigned int index)
{
    if (lu_load_module(index, why) != 0) {
        fail_msg("%s", why);
    }
    assert_true(exec(caller_vcpu()));
    relocate();
    forget_image();
}

static void enter(unsigned int arena, uint32_t newest)
{
    fake_stream_newest = newest;
    world_boot_image(arena, fake_va(fake_end.info_pa), PAGE_SIZE, next_start(), true);
}

static void adopt(void)
{
    lu_check();
    lu_adopt();
    work_until_done();
}

static void test_update__both_images__one_ring(void **state)
{
    (void)state;
    world_sample(false);
    jump(add_image(1, 2));
    assert_int_equal(handover()->recorder.pa, PLACE);
    enter(1, 2);
    assert_true(recorder_attached()); /* before the stream was looked at */
    adopt();
    assert_place(PLACE);
    assert_string_equal(texts(), "old: stop\nold: save\nold: check\nold: breadcrumb\nold: jump\n"
                                 "new: breadcrumb found\nnew: stream\nnew: adoption\n"
                                 "new: commit 1\n");
    assert_int_equal(recorder_boot(), 1);
}

/* Between jump and adoption the page's reference is hit, or leads astray: the stream is right. */
static void test_update__reference_damaged__stream_decides(void **state)
{
    (void)state;
    world_sample(false);
    unsigned int index = add_image(1, 2);

    for (unsigned int n = 0; n < 3; n++) {
        unsigned int before = recorded_count();

        jump(index);
        if (n == 0) {
            handover()->recorder.pa ^= BIT(16);
        } else if (n == 1) {
            handover()->recorder = (struct lu_recorder_ref){0, 0, 0};
        } else { /* another ring */
            recorder_create(fake_va(MIB(48)), RECORDER_BYTES);
            handover()->recorder.pa = MIB(48);
            seal(&handover()->recorder);
        }
        enter(1 - n % 2, 2);
        assert_int_equal(recorder_attached(), n == 2);
        adopt();
        assert_place(PLACE);
        assert_true(recorded_count() > before + 5);
    }
}

static void test_update__to_an_image_that_does_not_know_it__a_new_one_after(void **state)
{
    (void)state;
    world_sample(false);
    unsigned int one = add_image(1, 1), two = add_image(2, 2);

    recorder_text("lost", 4);
    make_elf(1);
    jump(one);
    assert_int_equal(handover()->recorder.pa, 0);
    assert_int_equal(handover()->recorder.bytes, 0);
    enter(1, 1);
    assert_false(recorder_attached());
    lu_check();
    lu_adopt();
    assert_int_equal(frametable_count(FRAME_RECORDER), 0);
    work_until_done();
    assert_int_equal(frametable_count(FRAME_RECORDER), BIT(RECORDER_ORDER));
    assert_true(handover()->recorder.pa >= MIB(1));
    assert_place(handover()->recorder.pa);
    assert_int_equal(recorded_count(), 0);
    jump(two); /* in a stream of version 1: none of it */
    assert_int_equal(handover()->recorder.pa, 0);
    enter(0, 2);
    adopt();
    assert_place(handover()->recorder.pa);
    fake_stream_newest = LU_STREAM_VERSION;
}

/* An update that does not take place: the recorder is this image's, and named. */
static void test_update__refused_or_back__still_named(void **state)
{
    (void)state;
    world_sample(false);
    unsigned int one = add_image(1, 1);

    assert_int_equal(lu_load_module(one, why), 0);
    fake_fail_alloc_after(0);
    assert_false(exec(caller_vcpu()));
    fake_fail_alloc_after(-1);
    assert_place(PLACE);
    recorder_text("goes on", 7);
    assert_non_null(strstr(texts(), "old: save\ngoes on\n"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cold__first_boot__below_the_region),
        TEST(test_cold__after_a_reset__goes_on),
        TEST(test_cold__page_or_ring_damaged__a_new_one),
        TEST(test_cold__memory_of_others__left_alone),
        TEST(test_cold__ring_of_another_place_and_size__taken),
        TEST(test_update__both_images__one_ring),
        TEST(test_update__reference_damaged__stream_decides),
        TEST(test_update__to_an_image_that_does_not_know_it__a_new_one_after),
        TEST(test_update__refused_or_back__still_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
