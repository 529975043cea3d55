/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fake of hv/smp.h: notes what is asked of it.
 */
#ifndef FAKES_SMP_H
#define FAKES_SMP_H

#include "hv/smp.h"

struct fake_smp {
    unsigned int kicks, halts, prepares, releases, returns, nmis, parks, flushes;
    struct percpu *kicked; /* the last one */
    uint64_t halted_until; /* of the last cpu_halt() */
    void (*kick)(void);    /* called by cpu_kick(): what the other CPU does before it stops */
    void (*halt)(void);    /* called by cpu_halt(): another CPU's turn */
};

extern struct fake_smp fake_smp;

#endif
