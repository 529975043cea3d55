/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nested page tables and the CPUs that walk them: a change counts a generation up; each CPU
 * compares it before it enters a guest and drops its translations when it is behind.
 */
#ifndef HV_NESTED_SYNC_H
#define HV_NESTED_SYNC_H

#include "hv/nested.h"
#include "hv/percpu.h"

/* Of percpu.nested_seen: this CPU may hold anything. */
#define NESTED_SEEN_NOTHING UINT64_MAX

/* Makes stale what CPUs hold of any nested tables. None is in a guest with them when this returns,
 * and none enters one with them. hv_lock held. A nested_invalidate_fn. */
void nested_invalidate(const struct nested *n);

/* hvm_ops' domain_init to walk, for a backend with these tables (hv/nested.h for the arguments). */
MUST_CHECK int nested_domain_init(struct domain *d, unsigned int max_order, uint64_t leaf_bits);
void nested_domain_fini(struct domain *d);
MUST_CHECK int nested_domain_map(struct domain *d, gfn_t gfn, mfn_t mfn, unsigned int order);
uint64_t nested_domain_walk(struct domain *d, const struct hvm_walk *walk);

/* Around the entry of a guest on this CPU; hv_lock not needed. Enter: true when the backend has to
 * drop all translations of nested tables first. */
MUST_CHECK bool nested_enter(struct percpu *cpu);
void nested_leave(struct percpu *cpu);

#endif
