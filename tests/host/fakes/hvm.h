/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake backend: hvm_ops that keep a vCPU's state in memory and write down what is asked of them,
 * the software version of hv/context.h, and this_cpu().
 *
 * A vCPU's backend state and a domain's nested tables are objects of kzalloc(), so leaks show in
 * pool_used() and allocation failures reach them.
 */
#ifndef FAKES_HVM_H
#define FAKES_HVM_H

#include "hv/domain.h"
#include "hv/hvm.h"
#include "hv/percpu.h"

#define FAKE_MAPS_MAX 32U
#define FAKE_BAD_RIP UINT64_C(0xbadbadbadbad) /* the backend takes no state with it */

struct fake_map {
    uint64_t gfn, mfn;
    unsigned int order;
};

struct fake_hvm {
    /* What happened. */
    unsigned int maps, injects, skips, inits, finis, loads, saves, runs, ons, offs;
    bool lent;                          /* context_lend() to context_take_back() */
    struct fake_map map[FAKE_MAPS_MAX]; /* the first of them */
    uint32_t event, event_error;        /* of the last inject() */
    unsigned int skipped;               /* bytes, of the last skip() */
    /* What shall happen: error numbers, 0 for success. */
    int fail_domain_init, fail_vcpu_init, fail_state_load, fail_map;
    const struct hvm_ops *found; /* by hvm_find() */
    /* Answers run(); without it a timer exit. */
    void (*run)(struct vcpu *v, uint64_t slice, struct hvm_exit *exit);
    void (*unload)(struct vcpu *v); /* called by unload() */
};

extern struct fake_hvm fake_hvm;
extern const struct hvm_ops fake_hvm_ops;

/* The CPU; `loaded` tells whose context is in it. */
extern struct percpu fake_cpu;

/* A second CPU, in no list; and the one that executes the code under test. */
extern struct percpu fake_cpu2;
extern struct percpu *fake_this;

/* Forgets everything; hvm becomes the fake backend, or NULL. */
void fake_hvm_reset(bool present);

/* What the backend holds of a vCPU. */
struct vcpu_state *fake_hvm_state(struct vcpu *v);

/* Components of the host and the size of an image with all of them. */
extern uint64_t fake_xcr0;
extern uint32_t fake_xsave_bytes;

#endif
