/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scheduler: the ring, fairness, sleepers, leaving the queue.
 *
 * The fake backend's run() takes the clock forward; after some runs it leaves sched_loop() by
 * machine_off().
 */
#include "hv/sched.h"

#include <stdlib.h>
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/domain.h"
#include "hv/time.h"

#define NR 5U
#define SLICE UINT64_C(5000000) /* 5 ms at 1 GHz */

static struct vcpu *v[NR];
static unsigned int runs[NR], order[4096], nr_order;
static uint64_t ran[NR], longest;
static unsigned int runs_left;
static void (*on_run)(unsigned int who);

static void run(struct vcpu *who, uint64_t slice, struct hvm_exit *exit)
{
    unsigned int i = 0;

    (void)exit;
    while (v[i] != who) {
        i++;
    }
    assert_ptr_equal(fake_cpu.loaded, who);
    assert_ptr_equal(fake_cpu.current, who);
    assert_int_equal(who->run_state, VCPU_RUNNABLE);
    if (nr_order == 0 || order[nr_order - 1] != i) {
        order[nr_order++ % ARRAY_SIZE(order)] = i;
    }
    runs[i]++;
    ran[i] += slice;
    longest = MAX(longest, slice);
    fake_tsc += slice;
    if (on_run != NULL) {
        on_run(i);
    }
    if (runs_left-- == 0) {
        machine_off(true);
    }
}

static int setup(void **state)
{
    struct vcpu_state reset;

    (void)state;
    world_reset();
    world_boot(0, true);
    fake_tsc_step = 1;
    sched_init("");
    fake_hvm.run = run;
    memset(runs, 0, sizeof(runs));
    memset(ran, 0, sizeof(ran));
    nr_order = 0;
    longest = 0;
    on_run = NULL;
    vcpu_state_reset(&reset);
    for (unsigned int i = 0; i < NR; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        struct domain *d = domain_create(name, (uint16_t)(i + 1), false);

        assert_int_equal(vcpu_create(d, 0, &reset, &v[i]), 0);
        sched_add(v[i]);
    }
    return 0;
}

static void loop(unsigned int times)
{
    runs_left = times;
    nr_order = 0;
    for (unsigned int i = 0; i < NR; i++) {
        v[i]->running = false; /* the loop before was left in the middle of a run */
    }
    assert_true(FAKE_ENDS(sched_loop()));
}

static unsigned int ring_length(void)
{
    struct vcpu *head = sched_ring, *x = head;
    unsigned int n = 0;

    if (head == NULL) {
        return 0;
    }
    do {
        assert_ptr_equal(x->run_next->run_prev, x);
        assert_ptr_equal(x->run_prev->run_next, x);
        x = x->run_next;
        n++;
        assert_true(n <= NR);
    } while (x != head);
    return n;
}

static void test_add_remove__any_order__ring_is_sound(void **state)
{
    (void)state;
    assert_int_equal(ring_length(), NR);
    sched_add(v[2]); /* a second time: nothing */
    assert_int_equal(ring_length(), NR);
    sched_remove(v[0]); /* the head */
    assert_ptr_equal(sched_ring, v[1]);
    sched_remove(v[3]);
    sched_remove(v[3]);
    assert_int_equal(ring_length(), NR - 2);
    sched_add(v[0]);
    assert_ptr_equal(sched_ring->run_prev, v[0]); /* the last to run */
    for (unsigned int i = 0; i < NR; i++) {
        sched_remove(v[i]);
        assert_null(v[i]->run_next);
        assert_null(v[i]->run_prev);
    }
    assert_null(sched_ring);
    sched_add(v[4]);
    assert_int_equal(ring_length(), 1);
    sched_remove(v[4]);
    hvm = NULL; /* nothing runs then, so nothing is queued */
    sched_add(v[4]);
    assert_null(sched_ring);
}

static void test_add_remove__random__as_the_model(void **state)
{
    bool in[NR] = {true, true, true, true, true};

    (void)state;
    for (unsigned int n = 0; n < 5000; n++) {
        unsigned int i = (unsigned int)(random_u64() % NR), count = 0;

        in[i] = random_u64() % 2 != 0;
        if (in[i]) {
            sched_add(v[i]);
        } else {
            sched_remove(v[i]);
        }
        for (unsigned int k = 0; k < NR; k++) {
            count += in[k];
            assert_int_equal(v[k]->run_next != NULL, in[k]);
        }
        assert_int_equal(ring_length(), count);
    }
}

static void test_loop__all_runnable__round_robin_and_fair(void **state)
{
    (void)state;
    loop(1000);
    for (unsigned int n = 1; n < nr_order; n++) {
        assert_int_equal(order[n], (order[n - 1] + 1) % NR);
    }
    for (unsigned int i = 0; i < NR; i++) {
        assert_true(ran[i] > 0 && ran[i] + SLICE >= ran[0] && ran[0] + SLICE >= ran[i]);
        assert_true(v[i]->entered);
        assert_ptr_equal(v[i]->entered_on, &fake_cpu);
        assert_true(v[i]->entered_tsc >= fake_cpu.first_entry_tsc);
        assert_true(v[i]->last_exit_tsc > v[i]->entered_tsc);
        assert_true(v[i]->last_exit_tsc <= fake_cpu.last_exit_tsc);
        /* The last run ended in machine_off(). */
        assert_true(runs[i] - v[i]->exits[HVM_EXIT_TIMER] <= 1);
    }
    assert_true(longest <= SLICE);
}

/* An update's blackout ends when the last CPU runs a guest again while somebody still stands. */
static void test_loop__first_entry__ends_a_blackout_if_anyone_stands(void **state)
{
    static const struct {
        bool held, other_held;
        uint64_t entered_tsc, other_entered_tsc; /* on another CPU */
        bool resumes;
    } rows[] = {
        {true, false, 0, 0, true},  {false, false, 0, 0, false}, {true, false, 5, 0, false},
        {false, true, 0, 0, true}, /* who has just woken is the first to run */
        {false, true, 0, 5, false}, {true, true, 5, 5, false},   {true, true, 5, 0, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)setup(NULL);
        for (unsigned int k = 0; k < NR; k++) {
            v[k]->held = k == 0 && rows[i].held;
        }
        v[0]->entered_tsc = rows[i].entered_tsc;
        v[NR - 1]->held = rows[i].other_held;
        v[NR - 1]->entered_tsc = rows[i].other_entered_tsc;
        loop(1);
        assert_int_equal(order[0], 0);
        assert_true(fake_cpu.first_entry_tsc != 0);
        assert_int_equal(fake_cpu.resumed, rows[i].resumes);
        assert_int_equal(v[0]->entered_tsc,
                         rows[i].entered_tsc != 0 ? rows[i].entered_tsc : fake_cpu.first_entry_tsc);
    }
}

static void test_init__slice_option__table(void **state)
{
    static const struct {
        const char *cmdline;
        uint64_t slice;
    } rows[] = {
        {"slice=1", SLICE / 5}, {"slice=20", SLICE * 4}, {"slice=0", SLICE},
        {"slice=1001", SLICE},  {"slice=x", SLICE},      {"other=1", SLICE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        (void)setup(NULL);
        sched_init(rows[i].cmdline);
        loop(400);
        /* One vCPU's turn is a slice, up to the moments between its runs. */
        uint64_t turn = ran[0] * NR / nr_order;
        assert_true(turn > rows[i].slice * 9 / 10 && turn < rows[i].slice * 11 / 10);
    }
}

static void give_up(unsigned int who)
{
    if (who == 1) {
        sched_give_way(v[1]);
    }
}

static void test_yield__rest_of_the_slice__given_up(void **state)
{
    (void)state;
    on_run = give_up;
    loop(1000);
    assert_true(ran[1] * 3 < ran[0]);
    /* All others have a turn before it has the next one. */
    unsigned int turns = 0, others = 0;
    for (unsigned int n = 0; n < nr_order; n++) {
        if (order[n] == 1) {
            assert_true(turns == 0 || others == BITS(NR - 1, 0) - BIT(1));
            turns++;
            others = 0;
        } else {
            others |= 1U << order[n];
        }
    }
    assert_true(turns > 10);
}

static uint64_t asleep_until;

static void sleep_once(unsigned int who)
{
    if (who == 2 && asleep_until == 0) {
        asleep_until = fake_tsc + 12 * SLICE;
        sched_sleep(v[2], asleep_until);
    } else if (who == 2) {
        assert_true(fake_tsc >= asleep_until);
    }
}

static void test_sleep__others_run__woken_in_time(void **state)
{
    (void)state;
    asleep_until = 0;
    on_run = sleep_once;
    loop(2000);
    assert_true(asleep_until != 0);
    assert_true(runs[2] > 10);
    assert_int_equal(v[2]->wake_tsc, 0);
}

/* The one vCPU that wants to run is cut short when a sleeper is due. */
static void sleep_short(unsigned int who)
{
    if (who == 0) {
        sched_sleep(v[0], fake_tsc + 2 * SLICE);
    }
}

static void test_sleep__one_runs_on__cut_short_for_the_sleeper(void **state)
{
    (void)state;
    for (unsigned int i = 2; i < NR; i++) {
        sched_remove(v[i]);
    }
    on_run = sleep_short;
    loop(600);
    /* Its turns come as often as it wants, not when v[1] has finished a slice. */
    assert_true(runs[0] > 20);
    assert_true(ran[1] <= (uint64_t)(runs[0] + 1) * (2 * SLICE + SLICE / 10));
}

static void test_sleep__everybody__idle_until_the_first_is_due(void **state)
{
    (void)state;
    fake_tsc_step = 1000;
    for (unsigned int i = 0; i < NR; i++) {
        sched_sleep(v[i], fake_tsc + (NR - i) * SLICE);
    }
    assert_true(sched_idle());
    loop(0);
    assert_int_equal(order[0], NR - 1);
    assert_false(sched_idle());
}

static void end_domain(unsigned int who)
{
    if (who == 0 && runs[0] == 3) {
        domain_exit(v[0]->domain, 0); /* the head of the queue removes itself */
    }
    if (who == 1 && runs[1] == 5) {
        domain_stop(v[3]->domain, "by another one's doing");
    }
}

static void test_loop__domains_end_while_running__others_go_on(void **state)
{
    (void)state;
    on_run = end_domain;
    loop(500);
    assert_int_equal(runs[0], 3);
    unsigned int three = runs[3];
    assert_int_equal(ring_length(), NR - 2);
    loop(500);
    assert_int_equal(runs[3], three);
    assert_true(runs[1] > 200 && runs[2] > 200 && runs[4] > 200);
}

static unsigned int idle_polls;

static void end_after_idle(void)
{
    if (++idle_polls == 20) {
        machine_off(true);
    }
}

static void test_loop__nobody_to_run__goes_on_polling(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < NR; i++) {
        v[i]->run_state = i % 2 == 0 ? VCPU_HALTED : VCPU_DOWN;
    }
    idle_polls = 0;
    fake_poll = end_after_idle;
    assert_true(sched_idle());
    assert_true(FAKE_ENDS(sched_loop()));
    assert_int_equal(fake_hvm.runs, 0);
    assert_int_equal(idle_polls, 20);
}

/* Work after an update goes on between the slices and while nobody runs. */
static void test_loop__work_to_do__done_beside_the_guests(void **state)
{
    (void)state;
    lu.update_boot = false;
    lu.finish = LU_FINISH_SCRUB;
    lu.finish_cursor = 0;
    loop(1000);
    assert_false(lu_busy());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_add_remove__any_order__ring_is_sound, setup),
        cmocka_unit_test_setup(test_add_remove__random__as_the_model, setup),
        cmocka_unit_test_setup(test_loop__all_runnable__round_robin_and_fair, setup),
        cmocka_unit_test_setup(test_loop__first_entry__ends_a_blackout_if_anyone_stands, setup),
        cmocka_unit_test_setup(test_init__slice_option__table, setup),
        cmocka_unit_test_setup(test_yield__rest_of_the_slice__given_up, setup),
        cmocka_unit_test_setup(test_sleep__others_run__woken_in_time, setup),
        cmocka_unit_test_setup(test_sleep__one_runs_on__cut_short_for_the_sleeper, setup),
        cmocka_unit_test_setup(test_sleep__everybody__idle_until_the_first_is_due, setup),
        cmocka_unit_test_setup(test_loop__domains_end_while_running__others_go_on, setup),
        cmocka_unit_test_setup(test_loop__nobody_to_run__goes_on_polling, setup),
        cmocka_unit_test_setup(test_loop__work_to_do__done_beside_the_guests, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
