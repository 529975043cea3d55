/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way back: the block that offers it, who may take it when, and the old image after a new one
 * has failed.
 */
#include "hv/way_back.h"

#include <string.h>

#include "../../lu/lu_priv.h"
#include "../../mm/frametable_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/smp.h"
#include "fakes/watchdog.h"
#include "fakes/world.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/modules.h"
#include "hv/percpu.h"
#include "hv/phase.h"
#include "hv/seam.h"
#include "hv/spinlock.h"
#include "hv/string.h"

#define NONCE 0x1234567812345679U
#define DEADLINE 5000000U

static char why[LU_REASON_MAX];
static struct elf_image elf;

static struct lu_handover *page(void)
{
    return fake_va(WORLD_REGION);
}

static void offer(uint64_t deadline)
{
    const struct lu_way_back block = {.nonce = NONCE, .cpus = 3, .list_crc = 77};

    way_back_begin(page(), WORLD_REGION, deadline);
    way_back_offer(&block, true);
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    way_back_close();
    return 0;
}

/* ---- the block ---- */

static void test_find__offered__the_same_block(void **state)
{
    struct lu_way_back found;

    (void)state;
    offer(DEADLINE);
    assert_int_equal(fake_end.handover_pa, WORLD_REGION);
    assert_int_equal(fake_end.deadline_tsc, DEADLINE);
    way_back_close();
    assert_true(way_back_find(WORLD_REGION, &found));
    assert_true(way_back_open());
    assert_int_equal(found.nonce, NONCE);
    assert_int_equal(found.deadline_tsc, DEADLINE);
    assert_int_equal(found.cpus, 3);
    assert_int_equal(found.list_crc, 77);
    assert_int_equal(found.entry_pa, FAKE_BACK_ENTRY);
}

static void flip(size_t copy, size_t bit)
{
    ((uint8_t *)&page()->back[copy])[bit / 8] ^= (uint8_t)(1U << bit % 8);
}

static void test_find__any_bit_flipped__the_other_copy_or_none(void **state)
{
    struct lu_way_back found;

    (void)state;
    offer(DEADLINE);
    for (size_t bit = 0; bit < 8 * sizeof(struct lu_way_back); bit++) {
        for (size_t copy = 0; copy < 2; copy++) {
            way_back_close();
            flip(copy, bit);
            assert_true(way_back_find(WORLD_REGION, &found));
            assert_int_equal(found.nonce, NONCE);
            flip(copy, bit);
        }
        way_back_close();
        flip(0, bit);
        flip(1, bit);
        assert_false(way_back_find(WORLD_REGION, &found));
        assert_false(way_back_open());
        flip(0, bit);
        flip(1, bit);
    }
}

static void test_find__nothing_there__closed(void **state)
{
    struct lu_way_back found;

    (void)state;
    memset(page(), 0x5a, PAGE_SIZE);
    assert_false(way_back_find(WORLD_REGION, &found));
    memset(page(), 0, PAGE_SIZE);
    assert_false(way_back_find(WORLD_REGION, &found));
    assert_false(way_back_find(0, &found));
    assert_false(way_back_find(WORLD_REGION + 8, &found));
    assert_false(way_back_open());
}

static void test_late__only_open_and_past_the_deadline(void **state)
{
    struct lu_way_back found;

    (void)state;
    offer(DEADLINE);
    fake_tsc = DEADLINE - 1000;
    assert_false(way_back_late());
    fake_tsc = DEADLINE + 1;
    assert_true(way_back_late());
    way_back_close();
    assert_false(way_back_late());
    offer(0);
    way_back_close();
    assert_true(way_back_find(WORLD_REGION, &found));
    assert_false(way_back_late());
}

/* ---- taking it ---- */

static void test_take__closed__returns(void **state)
{
    (void)state;
    way_back_take(LU_FAIL_PANIC, 0, 1, "nobody hears");
    assert_true(FAKE_PANICS(way_back_refuse("out of %s", "luck")));
    assert_true(fake_printed("panic: lu: out of luck"));
}

static void test_take__new_image__note_left_and_virtualization_off(void **state)
{
    struct lu_way_back found;

    (void)state;
    offer(DEADLINE);
    way_back_close();
    assert_true(way_back_find(WORLD_REGION, &found));
    phase = "adopt: a phase with a name that is longer than its field has room for";
    unsigned int offs = fake_hvm.offs;
    assert_true(FAKE_ENDS(way_back_take(LU_FAIL_EXCEPTION, 14, 0xabc, "page fault")));
    assert_int_equal(fake_end.backs, 1);
    assert_int_equal(fake_end.entry_pa, FAKE_BACK_ENTRY);
    assert_int_equal(fake_end.handover_pa, WORLD_REGION);
    assert_int_equal(fake_hvm.offs, offs + 1);
    assert_int_equal(page()->failure.kind, LU_FAIL_EXCEPTION);
    assert_int_equal(page()->failure.vector, 14);
    assert_int_equal(page()->failure.rip, 0xabc);
    assert_string_equal(page()->failure.reason, "page fault");
    assert_int_equal(strnlen(page()->failure.phase, 32), 31);
    /* What goes wrong on the way is not what it is remembered for, and not tried twice. */
    assert_true(FAKE_ENDS(way_back_take(LU_FAIL_PANIC, 0, 0, "again")));
    assert_int_equal(fake_end.backs, 2);
    assert_int_equal(fake_hvm.offs, offs + 1);
    assert_string_equal(page()->failure.reason, "page fault");
    phase = "run";
}

static void fails_in_the_pause(void *arg)
{
    (void)arg;
    way_back_take(LU_FAIL_EXCEPTION, 13, 2, "in the relocator");
}

static void test_take__old_image_in_the_pause__leaves_it(void **state)
{
    (void)state;
    offer(DEADLINE);
    assert_false(escape_call(fails_in_the_pause, NULL));
    assert_int_equal(fake_end.escapes, 1);
    assert_int_equal(fake_end.backs, 0);
    assert_int_equal(fake_hvm.offs, 1);
    assert_string_equal(page()->failure.reason, "in the relocator");
}

/* A fault between two steps of an allocator: nothing could go on. */
static void test_take__old_image_in_memory_management__returns(void **state)
{
    (void)state;
    offer(DEADLINE);
    spin_lock(&heap_lock);
    assert_true(escape_call(fails_in_the_pause, NULL));
    spin_unlock(&heap_lock);
    assert_false(escape_call(fails_in_the_pause, NULL));
}

/* One of those that wait or park: the escape is not its own. */
static void test_take__old_image_on_another_cpu__returns(void **state)
{
    (void)state;
    offer(DEADLINE);
    fake_this = &fake_cpu2;
    assert_true(escape_call(fails_in_the_pause, NULL));
    fake_this = &fake_cpu;
    assert_int_equal(fake_end.escapes, 0);
    assert_false(escape_call(fails_in_the_pause, NULL));
}

/* ---- back in the old image ---- */

static struct lu_failure left;
static bool entered_next; /* the relocator has done its list */

/* What the next image does with what is its own, and then it gives up. */
static void next_image_fails(void)
{
    paddr_t start = region_arena_start(&lu.region, 1 - lu.arena);

    page()->failure = left;
    if (entered_next) {
        page()->stage = LU_STAGE_BOOTED;
        memset(fake_va(start), 0x77, region_arena_end(&lu.region, 1 - lu.arena) - start);
    }
}

static void work_until_done(void)
{
    for (unsigned int i = 0; lu_busy(); i++) {
        for_each_domain(d) {
            for_each_vcpu(d, v) {
                v->entered = true;
            }
        }
        (void)lu_work();
        assert_null(world_audit());
        assert_true(i < 10000);
    }
}

static void load_image(void)
{
    assert_int_equal(lu_load_module(modules_images() - 1, why), 0);
    fake_cpu.last_exit_tsc = tsc_read();
}

static void boot_with_sample(void)
{
    world_sample(false);
    elf_image_make(&elf);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    lu.finish = LU_FINISH_DONE;
}

static bool all_zero(paddr_t start, paddr_t end)
{
    const uint64_t *p = fake_va(start);

    for (size_t i = 0; i < (end - start) / sizeof(*p); i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

/* An update that fails after the jump; the same facts afterwards, and no frame lost. */
static void update_that_comes_back(uint32_t kind, const char *reason, const char *want)
{
    struct vcpu *caller = domain_find(1)->vcpus;
    struct world_count before = world_count();
    uint64_t updates = lu.updates, backs = lu.backs;
    unsigned int nmi_allowed = fake_end.nmi_allowed;
    paddr_t idle = region_arena_start(&lu.region, 1 - lu.arena);
    struct hc_lu_status s;

    left = (struct lu_failure){.kind = kind, .rip = 5};
    str_copy(left.reason, sizeof(left.reason), reason);
    str_copy(left.phase, sizeof(left.phase), "adopt: stream");
    load_image();
    caller->gpr[GPR_RAX] = 0;
    lu.attempts++; /* facts of during the attempt */
    lu.refused++;
    char *facts = world_facts();
    lu.attempts--;
    lu.refused--;
    fake_end.comes_back = next_image_fails;
    fake_log_clear();
    assert_int_equal(lu_request_exec(caller, why), 0);
    assert_true(lu_due());
    lu_poll();
    assert_int_equal((int64_t)caller->gpr[GPR_RAX], -ECANCELED);
    caller->gpr[GPR_RAX] = 0;
    assert_int_equal(fake_hvm.ons, fake_hvm.offs);
    assert_int_equal(fake_end.nmi_allowed, nmi_allowed + 1);
    assert_false(way_back_open());
    assert_int_equal(page()->breadcrumb.magic, 0);
    assert_int_equal(page()->stage, LU_STAGE_NONE);
    assert_true(lu_busy());
    work_until_done();
    lu_get_status(&s);
    assert_int_equal(s.state, HC_LU_IDLE);
    assert_int_equal(s.last_result, -ECANCELED);
    assert_int_equal(s.updates, updates);
    assert_int_equal(s.backs, backs + 1);
    assert_true(s.back_blackout > 0);
    assert_string_equal(s.reason, want);
    assert_true(fake_printed("back code="));
    assert_true(all_zero(idle, region_arena_end(&lu.region, 1 - lu.arena)));
    const char *difference = world_facts_differ(facts, world_facts());
    if (difference != NULL) {
        fail_msg("%s", difference);
    }
    struct world_count after = world_count();
    assert_true(world_count_equal(&before, &after));
    fake_end.comes_back = NULL;
}

static void test_come_back__each_kind__as_before_and_the_reason_known(void **state)
{
    (void)state;
    boot_with_sample();
    entered_next = true;
    update_that_comes_back(LU_FAIL_PANIC, "no luck", "the new image failed: panic: no luck");
    update_that_comes_back(LU_FAIL_REFUSED, "stream: bad",
                           "the new image failed: refused: stream: bad");
    update_that_comes_back(LU_FAIL_DEADLINE, "", "the new image failed: deadline passed");
    update_that_comes_back(LU_FAIL_NONE, "", "the new image failed: a fault before it could tell");
    update_that_comes_back(99, "?", "the new image failed: a fault before it could tell: ?");
    entered_next = false;
    update_that_comes_back(LU_FAIL_EXCEPTION, "#PF",
                           "the new image was not reached: exception: #PF");
}

static struct fake_watchdog at_jump;

static void note_watchdog(void)
{
    at_jump = fake_watchdog;
    next_image_fails();
}

static void update_and_back(bool knows_way_back, bool timer)
{
    elf.notes.note.flags = LU_NOTE_TAKES_CPUS | (knows_way_back ? LU_NOTE_WAY_BACK : 0);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    fake_watchdog = (struct fake_watchdog){.useless = !timer};
    fake_end.comes_back = note_watchdog;
    load_image();
    assert_int_equal(lu.watch, timer ? HC_LU_WATCH_TIMER : HC_LU_WATCH_NONE);
    assert_int_equal(lu_request_exec(NULL, why), 0);
    lu_poll();
    work_until_done();
    fake_end.comes_back = NULL;
}

/* The timer watches from the pause on, begins anew at the jump, and ends with the attempt. */
static void test_timer__one_cpu__watches_images_that_know_it(void **state)
{
    (void)state;
    boot_with_sample();
    entered_next = true;
    update_and_back(true, true);
    assert_int_equal(at_jump.arms, 1);
    assert_int_equal(at_jump.restarts, 1);
    assert_int_equal(at_jump.stops, 0);
    assert_int_equal(fake_watchdog.stops, 1);
    update_and_back(false, true); /* it does not know what an NMI means */
    assert_int_equal(at_jump.arms, 1);
    assert_int_equal(at_jump.stops, 1);
    assert_int_equal(fake_watchdog.stops, 2);
    update_and_back(true, false); /* no timer, no matter */
    assert_int_equal(at_jump.arms, 0);
    assert_int_equal(lu.backs, 3);
}

/* ... and an update after them leaves for the next image as if nothing had been. */
static void test_come_back__then_an_update__jumps(void **state)
{
    (void)state;
    boot_with_sample();
    entered_next = true;
    update_that_comes_back(LU_FAIL_PANIC, "x", "the new image failed: panic: x");
    load_image();
    assert_int_equal(lu_request_exec(NULL, why), 0);
    assert_true(FAKE_ENDS(lu_poll()));
    assert_int_equal(fake_end.jumps, 2);
    assert_int_equal(page()->failure.kind, LU_FAIL_NONE);
}

/* A reason without an end, from an image that is as wrong as can be. */
static void test_come_back__garbage_for_a_reason__cut(void **state)
{
    struct hc_lu_status s;

    (void)state;
    boot_with_sample();
    entered_next = true;
    memset(&left, 'x', sizeof(left));
    load_image();
    fake_end.comes_back = next_image_fails;
    assert_int_equal(lu_request_exec(NULL, why), 0);
    lu_poll();
    lu_get_status(&s);
    assert_int_equal(strnlen(s.reason, sizeof(s.reason)), sizeof(s.reason) - 1);
    fake_end.comes_back = NULL;
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_find__offered__the_same_block),
        TEST(test_find__any_bit_flipped__the_other_copy_or_none),
        TEST(test_find__nothing_there__closed),
        TEST(test_late__only_open_and_past_the_deadline),
        TEST(test_take__closed__returns),
        TEST(test_take__new_image__note_left_and_virtualization_off),
        TEST(test_take__old_image_in_the_pause__leaves_it),
        TEST(test_take__old_image_in_memory_management__returns),
        TEST(test_take__old_image_on_another_cpu__returns),
        TEST(test_come_back__each_kind__as_before_and_the_reason_known),
        TEST(test_come_back__garbage_for_a_reason__cut),
        TEST(test_timer__one_cpu__watches_images_that_know_it),
        TEST(test_come_back__then_an_update__jumps), /* last: nobody ends that update */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
