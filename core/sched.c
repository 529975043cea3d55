/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scheduler and the loop that every CPU lives in.
 *
 * Owns: the run queues (per CPU). Everything that is not running a guest happens between two
 * guests, in sched_loop(): console, pending update, background work, wake-ups. That is also where
 * an update finds every vCPU at an architectural boundary.
 */
#include "hv/sched.h"

#include "hv/cmdline.h"
#include "hv/console.h"
#include "hv/context.h"
#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/irq.h"
#include "hv/lu.h"
#include "hv/machine.h"
#include "hv/percpu.h"
#include "hv/seam.h"
#include "hv/time.h"

#define SLICE_DEFAULT_MS 5U
#define POLL_INTERVAL_US 1000U /* the console wants a look this often, whatever the slice is */
#define IDLE_SPINS 64

static uint64_t slice_tsc;
static bool give_up;

void sched_init(const char *cmdline)
{
    struct str_span v;
    uint64_t ms = SLICE_DEFAULT_MS;

    if (cmdline_get(cmdline, "slice", &v) && (parse_size(v, &ms) != 0 || ms == 0 || ms > 1000)) {
        ms = SLICE_DEFAULT_MS;
    }
    slice_tsc = ms_to_tsc(ms);
}

void sched_add(struct vcpu *v)
{
    struct percpu *cpu = this_cpu();

    if (v->run_next != NULL || hvm == NULL) {
        return;
    }
    if (cpu->run_queue == NULL) {
        v->run_next = v;
        v->run_prev = v;
        cpu->run_queue = v;
        return;
    }
    v->run_next = cpu->run_queue; /* before the head: the last to run */
    v->run_prev = cpu->run_queue->run_prev;
    v->run_prev->run_next = v;
    v->run_next->run_prev = v;
}

void sched_remove(struct vcpu *v)
{
    struct percpu *cpu = this_cpu();

    if (v->run_next == NULL) {
        return;
    }
    if (cpu->run_queue == v) {
        cpu->run_queue = v->run_next != v ? v->run_next : NULL;
    }
    v->run_prev->run_next = v->run_next;
    v->run_next->run_prev = v->run_prev;
    v->run_next = NULL;
    v->run_prev = NULL;
}

bool sched_idle(void)
{
    struct vcpu *head = this_cpu()->run_queue, *v = head;

    if (head == NULL) {
        return true;
    }
    do {
        if (v->run_state == VCPU_RUNNABLE) {
            return false;
        }
        v = v->run_next;
    } while (v != head);
    return true;
}

void sched_sleep(struct vcpu *v, uint64_t wake_tsc)
{
    v->run_state = VCPU_SLEEPING;
    v->wake_tsc = wake_tsc;
}

void sched_yield(void)
{
    give_up = true;
}

/* The next runnable vCPU at or after the head, which moves there; wakes sleepers whose time has
 * come. *wake: when the first of the others is due. */
static struct vcpu *pick(uint64_t now, uint64_t *wake)
{
    struct percpu *cpu = this_cpu();
    struct vcpu *v = cpu->run_queue, *found = NULL;

    *wake = UINT64_MAX;
    if (v == NULL) {
        return NULL;
    }
    do {
        if (v->run_state == VCPU_SLEEPING) {
            if (v->wake_tsc <= now) {
                v->run_state = VCPU_RUNNABLE;
                v->wake_tsc = 0;
            } else {
                *wake = MIN(*wake, v->wake_tsc);
            }
        } else if (v->run_state == VCPU_HALTED) {
            if (irq_wakes(v, now)) {
                v->run_state = VCPU_RUNNABLE;
            } else {
                *wake = MIN(*wake, irq_next_timer(v));
            }
        }
        if (found == NULL && v->run_state == VCPU_RUNNABLE) {
            found = v;
        }
        v = v->run_next;
    } while (v != cpu->run_queue);
    if (found != NULL) {
        cpu->run_queue = found;
    }
    return found;
}

/* Its domain may have been paused or have ended since it was picked. */
static bool may_run(const struct vcpu *v)
{
    return v->run_state == VCPU_RUNNABLE && v->domain->state == DOMAIN_RUNNING;
}

/* Runs v until its slice is over, it stops being runnable, or something else is due. */
static void run_slice(struct vcpu *v, uint64_t end)
{
    struct percpu *cpu = this_cpu();
    uint64_t poll_cycles = us_to_tsc(POLL_INTERVAL_US);
    uint64_t poll_at = tsc_read() + poll_cycles;
    uint64_t now;

    give_up = false;
    cpu->current = v;
    context_load(v);
    while ((now = tsc_read()) < end && may_run(v) && !give_up && !lu_due()) {
        struct hvm_exit exit;
        uint64_t until;

        irq_before_entry(v, now);
        until = MIN(MIN(end, poll_at), irq_next_timer(v));
        hvm->run(v, until - MIN(now, until), &exit);
        v->run_cycles += cpu->last_exit_tsc - now;
        v->entered = true;
        v->exits[exit.reason]++;
        exit_handle(v, &exit);
        if (tsc_read() >= poll_at) {
            console_poll();
            poll_at = tsc_read() + poll_cycles;
        }
    }
    cpu->current = NULL;
}

/* A slice of what has time; true when there was something. */
static bool background_work(void)
{
    bool reaped = domain_reap();

    return lu_work() || reaped;
}

void sched_loop(void)
{
    for (;;) {
        uint64_t now, wake;
        struct vcpu *v;

        console_poll();
        lu_poll();
        machine_poll();
        now = tsc_read();
        v = pick(now, &wake);
        if (v != NULL) {
            run_slice(v, MIN(now + slice_tsc, wake));
            if (v->run_next != NULL) {
                this_cpu()->run_queue = v->run_next;
            }
            background_work();
        } else if (!background_work()) {
            for (int i = 0; i < IDLE_SPINS; i++) {
                cpu_pause();
            }
        }
    }
}
