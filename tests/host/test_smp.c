/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several CPUs: the scheduler over two of them, INIT, SIPI and NMI, stopping for an update.
 *
 * Two CPUs in one thread: while the first one's guest runs, with hv_lock free, the second has a
 * turn in its own sched_loop().
 */
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/smp.h"
#include "fakes/world.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/irq.h"
#include "hv/lock.h"
#include "hv/sched.h"
#include "hv/time.h"
#include "hv/vmap.h"
#include "hw/x86.h"

#define NR 3U
#define PAGE_VECTOR 0x9f

static struct domain *d;
static struct vcpu *v[NR];
static struct percpu *where[NR]; /* whose registers hold the vCPU */
static uint64_t ran[2][NR];      /* TSC cycles by CPU */
static unsigned int turns_left;
static bool nested;
static struct vcpu *second_ran; /* in the second CPU's last turn, NULL: it halted */

static unsigned int index_of(const struct vcpu *x)
{
    unsigned int i = 0;

    while (i < NR && v[i] != x) {
        i++;
    }
    return i;
}

static void note_run(struct vcpu *x, uint64_t cycles)
{
    unsigned int i = index_of(x);

    assert_true(where[i] == NULL || where[i] == fake_this); /* it has left the other CPU */
    assert_ptr_equal(fake_this->loaded, x);
    where[i] = fake_this;
    ran[fake_this->id][i] += cycles;
}

static void left(struct vcpu *x)
{
    unsigned int i = index_of(x);

    if (i < NR) {
        assert_true(where[i] == NULL || where[i] == fake_this);
        where[i] = NULL;
    }
}

/* The second CPU's turn ends in its first run, or when it halts; as at the end of a slice. */
static void end_turn(void)
{
    fake_this->idle = false;
    longjmp(fake_end_jmp, 1);
}

static void second_turn(void)
{
    jmp_buf outer;
    bool armed = fake_end_armed;
    struct percpu *cpu = fake_this;

    memcpy(&outer, &fake_end_jmp, sizeof(outer));
    fake_this = &fake_cpu2;
    second_ran = NULL;
    nested = true;
    hv_lock();
    assert_true(FAKE_ENDS(sched_loop()));
    hv_lock();
    if (second_ran != NULL) {
        second_ran->running = false;
        fake_this->current = NULL;
        vcpu_unload(second_ran);
    }
    hv_unlock();
    nested = false;
    fake_this = cpu;
    memcpy(&fake_end_jmp, &outer, sizeof(outer));
    fake_end_armed = armed;
}

static void run(struct vcpu *x, uint64_t slice, struct hvm_exit *exit)
{
    (void)exit;
    slice = MIN(slice, ms_to_tsc(1)); /* as long as the other's run beside it */
    note_run(x, slice);
    if (nested) {
        second_ran = x;
        x->vruntime += slice;
        end_turn();
    }
    second_turn();
    assert_true(second_ran != x);
    fake_tsc += slice;
    if (turns_left-- == 0) {
        machine_off(true);
    }
}

static int setup(void **state)
{
    struct vcpu_state reset;

    (void)state;
    world_reset();
    world_boot(0, true);
    fake_smp = (struct fake_smp){.halt = NULL};
    fake_tsc_step = 1;
    fake_cpu.next = &fake_cpu2;
    nr_cpus = 2;
    cpus_expected = 2;
    sched_init("");
    fake_hvm.run = run;
    fake_hvm.unload = left;
    memset(ran, 0, sizeof(ran));
    memset(where, 0, sizeof(where));
    memset(v, 0, sizeof(v));
    hv_unlock();
    vcpu_state_reset(&reset);
    reset.rflags |= RFLAGS_IF;
    d = domain_create("d", 1, true);
    assert_int_equal(domain_add_vcpus(d, NR, &reset), 0);
    for (unsigned int i = 0; i < NR; i++) {
        v[i] = i == 0 ? d->vcpus : v[i - 1]->next_in_domain;
        assert_int_equal(v[i]->run_state, i == 0 ? VCPU_RUNNABLE : VCPU_WAIT_SIPI);
    }
    return 0;
}

static void all_runnable(void)
{
    for (unsigned int i = 0; i < NR; i++) {
        v[i]->run_state = VCPU_RUNNABLE;
        sched_add(v[i]);
    }
}

/* ---- scheduling ---- */

static void test_add__vcpus__spread_over_the_cpus(void **state)
{
    (void)state;
    all_runnable();
    assert_ptr_equal(v[0]->cpu, &fake_cpu);
    assert_ptr_equal(v[1]->cpu, &fake_cpu2);
    assert_ptr_equal(v[2]->cpu, &fake_cpu);
    assert_true(fake_smp.kicks > 0); /* the other one is told */
}

static void test_loop__three_vcpus_on_two_cpus__equal_shares(void **state)
{
    (void)state;
    all_runnable();
    turns_left = 3000;
    assert_true(FAKE_ENDS(sched_loop()));
    uint64_t sum = 0, least = UINT64_MAX, most = 0;
    for (unsigned int i = 0; i < NR; i++) {
        uint64_t mine = ran[0][i] + ran[1][i];

        sum += mine;
        least = MIN(least, mine);
        most = MAX(most, mine);
        assert_true(ran[0][i] > 0 && ran[1][i] > 0); /* nobody is tied to a CPU */
    }
    assert_true(most - least < sum / 20);
}

static void test_kick__running_elsewhere__that_cpu_is_interrupted(void **state)
{
    (void)state;
    all_runnable();
    v[1]->running = true;
    fake_smp.kicks = 0;
    sched_kick(v[1]);
    assert_int_equal(fake_smp.kicks, 1);
    assert_ptr_equal(fake_smp.kicked, &fake_cpu2);
    v[0]->running = true; /* here: nobody has to be interrupted */
    sched_kick(v[0]);
    assert_int_equal(fake_smp.kicks, 1);
}

static void test_kick__its_cpu_is_busy__an_idle_one_takes_it(void **state)
{
    (void)state;
    all_runnable();
    v[0]->running = true;
    v[2]->run_state = VCPU_HALTED;
    fake_cpu2.idle = true;
    fake_smp.kicks = 0;
    sched_kick(v[2]);
    assert_ptr_equal(v[2]->cpu, &fake_cpu2);
    assert_int_equal(fake_smp.kicks, 1);
    assert_ptr_equal(fake_smp.kicked, &fake_cpu2);
    fake_cpu2.idle = false; /* nobody is idle: the one where it ran last looks at it soon */
    v[2]->cpu = &fake_cpu;
    fake_cpu.resched = false;
    sched_kick(v[2]);
    assert_ptr_equal(v[2]->cpu, &fake_cpu);
    assert_true(fake_cpu.resched);
}

static void test_remove__running_elsewhere__that_cpu_is_interrupted(void **state)
{
    (void)state;
    all_runnable();
    v[1]->running = true;
    fake_smp.kicks = 0;
    sched_remove(v[1]);
    assert_int_equal(fake_smp.kicks, 1);
    assert_ptr_equal(fake_smp.kicked, &fake_cpu2);
}

static void leave_loop(void)
{
    machine_off(true);
}

static void test_loop__nothing_to_run__halts_until_the_first_is_due(void **state)
{
    uint64_t due = fake_tsc + ms_to_tsc(50);

    (void)state;
    all_runnable();
    for (unsigned int i = 0; i < NR; i++) {
        v[i]->cpu = &fake_cpu2;
        sched_sleep(v[i], due + i);
    }
    fake_smp.halt = leave_loop;
    fake_this = &fake_cpu2;
    assert_true(FAKE_ENDS(sched_loop()));
    assert_int_equal(fake_smp.halted_until, due);
    assert_true(fake_cpu2.idle);
    fake_this = &fake_cpu; /* the first one looks at the console meanwhile */
    hv_lock();
    assert_true(FAKE_ENDS(sched_loop()));
    assert_true(fake_smp.halted_until < due);
}

/* ---- what other CPUs have unmapped ---- */

static void test_lock__unmapped_meanwhile__flushed_once(void **state)
{
    (void)state;
    void *area = vmalloc(PAGE_SIZE);

    assert_non_null(area);
    hv_unlock();
    hv_lock();
    unsigned int flushes = fake_smp.flushes;
    vfree(area);
    hv_unlock();
    fake_this = &fake_cpu2;
    hv_lock();
    assert_int_equal(fake_smp.flushes, flushes + 1);
    hv_unlock();
    hv_lock();
    assert_int_equal(fake_smp.flushes, flushes + 1);
    fake_this = &fake_cpu;
}

/* ---- INIT, SIPI, NMI ---- */

static void init(unsigned int i)
{
    irq_bus.init(d, i);
    irq_bus.kick(d, i);
}

static void sipi(unsigned int i, uint8_t vector)
{
    irq_bus.sipi(d, i, vector);
    irq_bus.kick(d, i);
}

static void test_init_sipi__waiting_vcpu__starts_at_the_page(void **state)
{
    struct vcpu_state s;

    (void)state;
    init(1);
    assert_true(irq_signalled(v[1]));
    irq_take_signals(v[1]);
    assert_int_equal(v[1]->run_state, VCPU_WAIT_SIPI);
    assert_false(irq_signalled(v[1]));
    sipi(1, PAGE_VECTOR);
    sipi(1, 1); /* the second of the usual two: too late */
    assert_true(irq_signalled(v[1]));
    irq_take_signals(v[1]);
    assert_int_equal(v[1]->run_state, VCPU_RUNNABLE);
    vcpu_get_state(v[1], &s);
    assert_int_equal(s.seg[SEG_CS].base, PAGE_VECTOR << 12);
    assert_int_equal(s.rip, 0);
    sipi(1, 3); /* running: ignored */
    assert_false(irq_signalled(v[1]));
    irq_take_signals(v[1]);
    vcpu_get_state(v[1], &s);
    assert_int_equal(s.seg[SEG_CS].base, PAGE_VECTOR << 12);
}

static void test_init_sipi__both_before_it_looks__both_done(void **state)
{
    (void)state;
    v[1]->run_state = VCPU_RUNNABLE;
    init(1);
    sipi(1, PAGE_VECTOR);
    irq_take_signals(v[1]);
    assert_int_equal(v[1]->run_state, VCPU_RUNNABLE);
    assert_int_equal(v[1]->signals, 0);
    assert_int_equal(fake_hvm_state(v[1])->seg[SEG_CS].base, PAGE_VECTOR << 12);
    v[1]->run_state = VCPU_WAIT_SIPI;
    sipi(1, 5);
    init(1); /* after it: INIT is what counts */
    irq_take_signals(v[1]);
    assert_int_equal(v[1]->run_state, VCPU_WAIT_SIPI);
    assert_int_equal(v[1]->signals, 0);
}

static void test_init__boot_processor__domain_stops(void **state)
{
    (void)state;
    init(0);
    irq_take_signals(v[0]);
    assert_int_equal(d->state, DOMAIN_STOPPED);
}

/* INIT to the last vCPU that could start another one; but not while a SIPI is on its way. */
static void test_init__nobody_left__domain_stops(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < NR; i++) {
        v[i]->run_state = i == 2 ? VCPU_WAIT_SIPI : VCPU_HALTED;
        v[i]->deaf = true;
    }
    init(1);
    sipi(1, PAGE_VECTOR);
    irq_take_signals(v[1]);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    assert_int_equal(v[1]->run_state, VCPU_RUNNABLE);
    init(1);
    irq_take_signals(v[1]);
    assert_int_equal(d->state, DOMAIN_STOPPED);
}

static void test_init__ended_vcpu__stays_down(void **state)
{
    (void)state;
    v[1]->run_state = VCPU_DOWN;
    init(1);
    sipi(1, 1);
    irq_take_signals(v[1]);
    assert_int_equal(v[1]->run_state, VCPU_DOWN);
}

static void test_nmi__blocked__waits_and_is_taken_once(void **state)
{
    struct vcpu_state *s = fake_hvm_state(v[0]);

    (void)state;
    s->interruptibility = INTR_BLOCK_NMI;
    irq_bus.nmi(d, 0);
    irq_bus.nmi(d, 0); /* one is kept */
    irq_before_entry(v[0], fake_tsc);
    assert_int_equal(s->event, 0);
    assert_int_equal(v[0]->signals, VCPU_SIGNAL_NMI);
    s->interruptibility = 0;
    irq_before_entry(v[0], fake_tsc);
    assert_int_equal(s->event, EVENT_VALID | EVENT_TYPE_NMI << 8 | 2);
    assert_int_equal(v[0]->signals, 0);
    s->event = 0;
    irq_before_entry(v[0], fake_tsc);
    assert_int_equal(s->event, 0);
}

static void test_nmi__halted_and_deaf__wakes(void **state)
{
    (void)state;
    v[0]->run_state = VCPU_HALTED;
    v[0]->deaf = true;
    assert_false(irq_wakes(v[0], fake_tsc));
    fake_hvm_state(v[0])->interruptibility = INTR_BLOCK_NMI; /* halted in its NMI handler */
    irq_bus.nmi(d, 0);
    assert_false(irq_wakes(v[0], fake_tsc));
    fake_hvm_state(v[0])->interruptibility = 0;
    assert_true(irq_wakes(v[0], fake_tsc));
    assert_int_equal(fake_hvm_state(v[0])->event, EVENT_VALID | EVENT_TYPE_NMI << 8 | 2);
    assert_int_equal(v[0]->signals, 0);
}

/* ---- stopping for an update ---- */

static void test_stop__a_cpu_does_not_come__refused_and_all_go_on(void **state)
{
    const char *why = "";

    (void)state;
    fake_tsc_step = 1000000;
    fake_smp.kicks = 0;
    assert_int_equal(others_stop(1000, &why), -EBUSY);
    assert_string_equal(why, "a CPU does not stop");
    assert_int_equal(fake_smp.kicks, 1);
    others_go_on();
    assert_int_equal(lu.others, LU_OTHERS_RUN);
    assert_false(lu_due());
}

static void test_stop__all_there__first_stop_is_the_earliest(void **state)
{
    const char *why = "";

    (void)state;
    fake_cpu2.stopped = true;
    fake_cpu2.stop_tsc = 500;
    fake_cpu.stop_tsc = 700;
    assert_int_equal(others_stop(1000, &why), 0);
    assert_int_equal(others_first_stop(), 500);
    assert_true(lu_due()); /* for CPUs that look now */
    others_go_on();
}

static int late_load, late_exec;

/* The other CPU's guest asks for something in the moment before it stops. */
static void late_calls(void)
{
    char why[LU_REASON_MAX];

    late_load = lu_load_module(0, why);
    late_exec = lu_request_exec(v[1], why);
}

static void test_poll__calls_of_cpus_that_still_stop__refused(void **state)
{
    (void)state;
    (void)world_add_module("image", NULL, PAGE_SIZE);
    lu.finish = LU_FINISH_DONE;
    lu.exec_requested = true;
    lu.exec_caller = NULL;
    lu.loaded.valid = true;
    lu.loaded.info = (struct kimage_info){.flags = LU_NOTE_TAKES_CPUS,
                                          .seal.features = ~UINT64_C(0)};
    lu.loaded_tsc = 0;
    lu.loaded.stream_version = lu_stream_newest();
    update_prepare();
    fake_tsc_step = 1000000;
    fake_smp.kick = late_calls;
    lu_poll(); /* refused in the end: nobody stops */
    assert_int_equal(late_load, -EBUSY);
    assert_int_equal(late_exec, -EBUSY);
    assert_true(lu.loaded.valid);
    assert_false(lu.exec_requested);
    assert_true(fake_printed("a CPU does not stop"));
    lu.loaded.valid = false;
}

static void test_note_stop__runnable_or_not__when_it_was_held_up(void **state)
{
    (void)state;
    v[0]->run_state = VCPU_RUNNABLE;
    sched_add(v[0]);
    fake_cpu.last_exit_tsc = 123;
    others_note_stop();
    assert_int_equal(fake_cpu.stop_tsc, 123);
    v[0]->run_state = VCPU_HALTED; /* nobody waits: nobody is held up yet */
    others_note_stop();
    assert_true(fake_cpu.stop_tsc > 123);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
        TEST(test_add__vcpus__spread_over_the_cpus),
        TEST(test_loop__three_vcpus_on_two_cpus__equal_shares),
        TEST(test_kick__running_elsewhere__that_cpu_is_interrupted),
        TEST(test_kick__its_cpu_is_busy__an_idle_one_takes_it),
        TEST(test_remove__running_elsewhere__that_cpu_is_interrupted),
        TEST(test_loop__nothing_to_run__halts_until_the_first_is_due),
        TEST(test_lock__unmapped_meanwhile__flushed_once),
        TEST(test_init_sipi__waiting_vcpu__starts_at_the_page),
        TEST(test_init_sipi__both_before_it_looks__both_done),
        TEST(test_init__boot_processor__domain_stops),
        TEST(test_init__nobody_left__domain_stops),
        TEST(test_init__ended_vcpu__stays_down),
        TEST(test_nmi__blocked__waits_and_is_taken_once),
        TEST(test_nmi__halted_and_deaf__wakes),
        TEST(test_stop__a_cpu_does_not_come__refused_and_all_go_on),
        TEST(test_stop__all_there__first_stop_is_the_earliest),
        TEST(test_poll__calls_of_cpus_that_still_stop__refused),
        TEST(test_note_stop__runnable_or_not__when_it_was_held_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
