/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one lock of the hypervisor.
 *
 * A CPU holds hv_lock whenever it executes molt's code, from VM exit to VM entry, and lets go of it
 * only around VM entry, while it halts, and where hv/smp.h and lu_load_slice() say so. So domains,
 * vCPUs, device models, scheduler, console and update need no locks of their own, and the CPU that
 * holds it while all others are stopped sees a machine that stands still. Guests run in parallel;
 * their exits, some hundred instructions each, are handled one after the other.
 */
#ifndef HV_LOCK_H
#define HV_LOCK_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Takes the lock. The CPU's view of vmap space is up to date then: what other CPUs have unmapped
 * since it held the lock last is flushed. */
void hv_lock(void);
void hv_unlock(void);

#endif
