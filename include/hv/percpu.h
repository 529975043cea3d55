/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per-CPU data, reached through GS, and the list of CPUs.
 */
#ifndef HV_PERCPU_H
#define HV_PERCPU_H

#include "hv/compiler.h"
#include "hv/types.h"

struct vcpu;

struct percpu {
    struct percpu *self;    /* first: `mov rax, [gs:0]` */
    LAYOUT(unsigned int id; /* 0: the one that booted, or made the update */
           uint32_t apic_id; struct vcpu *loaded; /* whose context is in the CPU's registers */
           struct vcpu *current; /* the one running or handled now */
           bool idle; /* in cpu_halt(), or about to be: a kick is needed */
           , void *hvm_data;       /* the backend's (VMXON region, ...) */
           uint64_t last_exit_tsc; /* when it left a guest, or cpu_halt(), last */
           uint64_t first_entry_tsc; /* first VM entry of this image, 0 before */
           uint64_t online_tsc;      /* when it joined, or came back from a failed update */
           bool resumed; /* ... and someone whom the update held up still stood */
           uint64_t stop_tsc;    /* update: when its guest, or else the CPU itself, stopped */
           bool stopped;         /* waits for the update's verdict */
           bool told;            /* ... and has told the first CPU that it is late */
           bool resched;         /* the running vCPU's slice is over */
           uint64_t tlb_seen;    /* of vmap_flushes: see hv_lock() */
           bool in_guest;        /* from before an entry to after the exit */
           uint64_t nested_seen; /* what its nested translations are of: hv/nested_sync.h */
           struct percpu *next;)
};

struct percpu *this_cpu(void);

/* Every CPU that runs this image, the first one first. Grows only. */
extern struct percpu *cpu_list;
extern unsigned int nr_cpus;
/* As many will be there, once it is known: a vCPU that stops running leaves its CPU if this is more
 * than one (vcpu_unload()). */
extern unsigned int cpus_expected;

/* This CPU into the list, unless it is there. hv_lock held. */
void cpu_join(void);

#define for_each_cpu(c) for (struct percpu *c = cpu_list; c != NULL; c = c->next)

#endif
