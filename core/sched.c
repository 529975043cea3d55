/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scheduler and the loop that every CPU lives in.
 *
 * Owns: the ring of vCPUs that may run. Each belongs to a CPU (v->cpu: where it ran last), which
 * wakes it when its time comes; a CPU takes those of busy others as well, the one that has run
 * least first. Everything that is not running a guest happens between two guests, in sched_loop():
 * on the first CPU also console, update and background work. There an update finds every vCPU at an
 * architectural boundary.
 *
 * Host test: tests/host/test_sched.c
 */
#include "hv/sched.h"

#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/context.h"
#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/fault.h"
#include "hv/hvm.h"
#include "hv/irq.h"
#include "hv/lock.h"
#include "hv/lu.h"
#include "hv/machine.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/smp.h"
#include "hv/time.h"

#define SLICE_DEFAULT_MS 5U
#define POLL_INTERVAL_US 1000U /* the console wants a look this often, whatever the slice is */

struct vcpu *sched_ring;
static uint64_t slice_tsc, poll_tsc;
static uint64_t least_run; /* vruntime that a vCPU starts from: of the one picked last */

void sched_init(const char *cmdline)
{
    struct str_span v;
    uint64_t ms = SLICE_DEFAULT_MS;

    if (cmdline_get(cmdline, "slice", &v) && (parse_size(v, &ms) != 0 || ms == 0 || ms > 1000)) {
        ms = SLICE_DEFAULT_MS;
    }
    slice_tsc = ms_to_tsc(ms);
    poll_tsc = us_to_tsc(POLL_INTERVAL_US);
}

/* The first CPU looks after everything that is not a vCPU's. */
static bool is_first(const struct percpu *cpu)
{
    return cpu->id == 0;
}

/* ---- the ring ---- */

static struct percpu *least_loaded(void)
{
    struct percpu *best = NULL;
    unsigned int best_load = 0;

    for_each_cpu(cpu) {
        struct vcpu *v = sched_ring;
        unsigned int load = 0;

        if (v != NULL) {
            do {
                load += v->cpu == cpu;
                v = v->run_next;
            } while (v != sched_ring);
        }
        if (best == NULL || load < best_load) {
            best = cpu;
            best_load = load;
        }
    }
    return best != NULL ? best : this_cpu();
}

void sched_add(struct vcpu *v)
{
    if (v->run_next != NULL || hvm == NULL) {
        return;
    }
    v->cpu = least_loaded();
    v->held = v->run_state == VCPU_RUNNABLE;
    v->vruntime = MAX(v->vruntime, least_run);
    if (sched_ring == NULL) {
        v->run_next = v;
        v->run_prev = v;
        sched_ring = v;
    } else {
        v->run_next = sched_ring; /* before the head: the last */
        v->run_prev = sched_ring->run_prev;
        v->run_prev->run_next = v;
        v->run_next->run_prev = v;
    }
    sched_kick(v);
}

void sched_remove(struct vcpu *v)
{
    if (v->run_next == NULL) {
        return;
    }
    if (sched_ring == v) {
        sched_ring = v->run_next != v ? v->run_next : NULL;
    }
    v->run_prev->run_next = v->run_next;
    v->run_next->run_prev = v->run_prev;
    v->run_next = NULL;
    v->run_prev = NULL;
    if (v->running && v->cpu != this_cpu()) {
        cpu_kick(v->cpu);
    }
}

static bool ready(const struct vcpu *v)
{
    return v->run_state == VCPU_RUNNABLE || irq_signalled(v);
}

bool sched_idle(void)
{
    struct vcpu *v = sched_ring;

    if (v == NULL) {
        return true;
    }
    do {
        if (v->cpu == this_cpu() && ready(v)) {
            return false;
        }
        v = v->run_next;
    } while (v != sched_ring);
    return true;
}

void sched_sleep(struct vcpu *v, uint64_t wake_tsc)
{
    v->run_state = VCPU_SLEEPING;
    v->wake_tsc = wake_tsc;
}

void sched_give_way(struct vcpu *v)
{
    for (struct vcpu *other = v->run_next; other != NULL && other != v; other = other->run_next) {
        if (!other->running && ready(other)) {
            v->vruntime = MAX(v->vruntime, other->vruntime + 1);
        }
    }
    this_cpu()->resched = true;
}

/* ---- who runs where ---- */

static struct percpu *idle_cpu(void)
{
    for_each_cpu(cpu) {
        if (cpu->idle) {
            return cpu;
        }
    }
    return NULL;
}

void sched_kick(struct vcpu *v)
{
    struct percpu *other;

    if (v->run_next == NULL) {
        return;
    }
    if (!v->running) {
        other = v->cpu->idle ? v->cpu : idle_cpu();
        if (other != NULL) {
            v->cpu = other;
        }
        v->cpu->resched = true;
    }
    if (v->cpu != this_cpu()) {
        cpu_kick(v->cpu);
    }
}

/* One of this CPU's that does not run: awake when its time has come, else *wake is at most when it
 * will have. */
static void wake_if_due(struct vcpu *v, uint64_t now, uint64_t *wake)
{
    if (v->run_state == VCPU_SLEEPING) {
        if (v->wake_tsc > now) {
            *wake = MIN(*wake, v->wake_tsc);
            return;
        }
        v->wake_tsc = 0;
    } else if (v->run_state == VCPU_HALTED) {
        if (!irq_wakes(v, now)) {
            *wake = MIN(*wake, irq_next_timer(v));
            return;
        }
    } else {
        return;
    }
    v->run_state = VCPU_RUNNABLE;
    /* Before those that ran all the time, but no credit for more than a slice. */
    v->vruntime = MAX(v->vruntime, least_run - MIN(least_run, slice_tsc));
}

/* The ready vCPU that has run least, of this CPU's own and of those that wait for a busy one.
 * *wake: when the first of the others is due here. */
static struct vcpu *pick(struct percpu *cpu, uint64_t now, uint64_t *wake)
{
    struct vcpu *v = sched_ring, *best = NULL;
    unsigned int waiting = 0;

    *wake = UINT64_MAX;
    if (v == NULL) {
        return NULL;
    }
    do {
        if (v->cpu == cpu && !v->running) {
            wake_if_due(v, now, wake);
        }
        if (!v->running && ready(v) && (v->cpu == cpu || !v->cpu->idle)) {
            waiting++;
            best = best == NULL || v->vruntime < best->vruntime ? v : best;
        }
        v = v->run_next;
    } while (v != sched_ring);
    if (waiting > 1 && idle_cpu() != NULL) {
        cpu_kick(idle_cpu());
    }
    return best;
}

/* ---- running ---- */

/* Neither halted nor ended, paused or taken away by another CPU. */
static bool goes_on(const struct vcpu *v)
{
    return v->run_state == VCPU_RUNNABLE && v->run_next != NULL;
}

/* Somebody whom the update has held up still stands. */
static bool anyone_stands(void)
{
    struct vcpu *v = sched_ring;

    while (!(v->held && v->entered_tsc == 0)) {
        v = v->run_next;
        if (v == sched_ring) {
            return false;
        }
    }
    return true;
}

/* The first entry of this CPU, or of this vCPU, under this image. */
static void note_entry(struct percpu *cpu, struct vcpu *v)
{
    uint64_t now = tsc_read();

    if (cpu->first_entry_tsc == 0) {
        cpu->first_entry_tsc = now;
        cpu->resumed = anyone_stands();
        FAULT_POINT("new.entry.first");
    }
    if (v->entered_tsc == 0) {
        v->entered_tsc = now;
        v->entered_on = cpu;
    }
}

/* Runs v until its slice is over, it stops being runnable, or something else is due. */
static void run_slice(struct percpu *cpu, struct vcpu *v, uint64_t end)
{
    uint64_t poll_at = tsc_read() + poll_tsc;
    uint64_t now;

    least_run = MAX(least_run, v->vruntime);
    cpu->resched = false;
    cpu->current = v;
    v->cpu = cpu;
    v->running = true;
    if (cpu->loaded != NULL && cpu->loaded != v) {
        vcpu_unload(cpu->loaded);
    }
    irq_take_signals(v);
    while ((now = tsc_read()) < end && goes_on(v) && !cpu->resched && !lu_due()) {
        struct hvm_exit exit;
        uint64_t until, ran;

        context_load(v);
        irq_before_entry(v, now);
        until = MIN(end, irq_next_timer(v));
        until = is_first(cpu) ? MIN(until, poll_at) : until;
        if (v->entered_tsc == 0 || cpu->first_entry_tsc == 0) {
            note_entry(cpu, v);
        }
        hv_unlock();
        hvm->run(v, until - MIN(now, until), &exit);
        hv_lock();
        ran = cpu->last_exit_tsc - now;
        v->last_exit_tsc = cpu->last_exit_tsc;
        v->run_cycles += ran;
        v->vruntime += ran;
        v->entered = true;
        v->exits[exit.reason]++;
        if (goes_on(v)) { /* else nothing of the instruction is done: it exits again */
            exit_handle(v, &exit);
        }
        irq_take_signals(v);
        if (is_first(cpu) && tsc_read() >= poll_at) {
            console_poll();
            poll_at = tsc_read() + poll_tsc;
        }
    }
    v->running = false;
    cpu->current = NULL;
    if (cpu->loaded != v) { /* it was looked at only */
        vcpu_unload(v);
    }
}

/* A slice of what has time; true when there was something. */
static bool background_work(void)
{
    bool reaped = domain_reap();

    return lu_work() || reaped;
}

/* Nothing to run here until `wake`, or until somebody kicks. */
static void halt(struct percpu *cpu, uint64_t wake)
{
    if (cpu->loaded != NULL) {
        vcpu_unload(cpu->loaded);
    }
    if (cpu->resched) { /* something came since the look around */
        cpu->resched = false;
        return;
    }
    cpu->idle = true;
    hv_unlock();
    cpu_halt(is_first(cpu) ? MIN(wake, tsc_read() + poll_tsc) : wake);
    hv_lock();
    cpu->idle = false;
    cpu->last_exit_tsc = tsc_read();
}

void sched_loop(void)
{
    struct percpu *cpu = this_cpu();

    for (;;) {
        uint64_t now, wake;
        struct vcpu *v;

        if (is_first(cpu)) {
            console_poll();
            lu_poll();
            machine_poll();
        } else {
            lu_stop_here();
        }
        cpu->resched = false;
        now = tsc_read();
        v = pick(cpu, now, &wake);
        if (v != NULL) {
            run_slice(cpu, v, MIN(now + slice_tsc, wake));
            if (is_first(cpu)) {
                (void)background_work();
            }
        } else if (!is_first(cpu) || !background_work()) {
            halt(cpu, wake);
        }
    }
}

void cpu_main(void)
{
    hv_lock();
    cpu_join();
    if (hvm != NULL && hvm->cpu_on() != 0) {
        printk("cpu %u: %s cannot be turned on: not used", this_cpu()->id, hvm->name);
        for (;;) {
            lu_stop_here();
            hv_unlock();
            cpu_halt(UINT64_MAX);
            hv_lock();
        }
    }
    sched_loop();
}
