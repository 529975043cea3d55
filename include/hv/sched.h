/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scheduler: vCPUs over CPUs, fair by the time that each has run, in slices of the preemption
 * timer. hv_lock held everywhere.
 */
#ifndef HV_SCHED_H
#define HV_SCHED_H

#include "hv/compiler.h"
#include "hv/types.h"

struct vcpu;

/* Every vCPU that may run, linked by run_next; NULL when there is none. */
extern struct vcpu *sched_ring;

/* Reads slice=MS. */
void sched_init(const char *cmdline);

/* In: it belongs to the CPU with the fewest. Out: a CPU that runs it is made to leave it;
 * v->running tells when it has. Without a backend nothing is queued. */
void sched_add(struct vcpu *v);
void sched_remove(struct vcpu *v);

/* Something is there that a vCPU may wait for, or has to look at: an interrupt, a signal. */
void sched_kick(struct vcpu *v);

/* No vCPU of this CPU wants to run now. */
bool sched_idle(void);

/* The running vCPU sleeps until the host TSC reaches wake_tsc. */
void sched_sleep(struct vcpu *v, uint64_t wake_tsc);

/* The running vCPU gives up the rest of its slice: all that wait go first. */
void sched_give_way(struct vcpu *v);

/* The CPU's life: runs vCPUs; the first one also polls the console and does what is due. */
NORETURN void sched_loop(void);

#endif
