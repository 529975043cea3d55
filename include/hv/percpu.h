/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per-CPU data, reached through GS. One instance today; secondary CPUs get theirs the same way.
 */
#ifndef HV_PERCPU_H
#define HV_PERCPU_H

#include "hv/compiler.h"
#include "hv/types.h"

struct vcpu;

struct percpu {
    struct percpu *self;                         /* first: `mov rax, [gs:0]` */
    LAYOUT(unsigned int id; struct vcpu *loaded; /* whose context is in the CPU's registers */
           struct vcpu *current; /* the one running or handled now */
           struct vcpu *run_queue; /* ring of runnable vCPUs, NULL when empty */
           , void *hvm_data;       /* the backend's (VMXON region, ...) */
           uint64_t last_exit_tsc; /* when the last VM exit happened */
           uint64_t first_entry_tsc; /* first VM entry of this image, 0 before */)
};

struct percpu *this_cpu(void);

#endif
