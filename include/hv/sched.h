/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scheduler: a ring of runnable vCPUs per CPU, round robin in slices of the preemption timer.
 */
#ifndef HV_SCHED_H
#define HV_SCHED_H

#include "hv/compiler.h"
#include "hv/types.h"

struct vcpu;

/* Reads slice=MS. */
void sched_init(const char *cmdline);

/* Into this CPU's run queue, and out of it. Without a backend nothing is queued. */
void sched_add(struct vcpu *v);
void sched_remove(struct vcpu *v);

/* No vCPU of this CPU wants to run now. */
bool sched_idle(void);

/* The running vCPU sleeps until the host TSC reaches wake_tsc. */
void sched_sleep(struct vcpu *v, uint64_t wake_tsc);

/* The running vCPU gives up the rest of its slice. */
void sched_yield(void);

/* The CPU's life: runs vCPUs, polls the console, does what is due. */
NORETURN void sched_loop(void);

#endif
