/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a domain, step by step: what the boot modules, the hypercalls HC_DOM_* and the
 * console have in common.
 *
 *   create -> memory, memory ... -> load -> start <-> pause, resume -> destroy
 *
 * All return 0 or -E*; what is refused changes nothing. Where said so, DOMAIN_AGAIN: a slice is
 * done, and the same call goes on.
 */
#ifndef HV_DOMCTL_H
#define HV_DOMCTL_H

#include "hv/compiler.h"
#include "hv/domain.h"
#include "hv/guest_load.h"
#include "public/hypercall.h"

#define DOMCTL_MEMORY_MAX GIB(64 * 1024)

/* A new domain with its vCPUs, no memory. -EINVAL (name: empty, too long, or with characters other
 * than letters, digits, '_', '-' and '.'; number of vCPUs), -EEXIST (name in use), -ENOSPC (no id),
 * -ENOMEM. */
MUST_CHECK int domctl_create(const char *name, unsigned int vcpus, bool control,
                             struct domain **out);

/* Adds memory to a new domain. DOMAIN_AGAIN; -EINVAL (not new, loaded already, no multiple of a
 * page, too much); -EBUSY (another number of bytes is being added); -ENOMEM (less than that and
 * what molt needs itself is free). */
MUST_CHECK int domctl_memory(struct domain *d, uint64_t bytes);

/* May a payload be loaded? DOMAIN_AGAIN while its memory is zeroed; -EINVAL (not new, or loaded);
 * -EBUSY (memory is being added). */
MUST_CHECK int domctl_load_ready(struct domain *d);
/* Loads it: as guest_load(), and what domctl_load_ready() says. After a failure the memory is zero
 * again as far as anybody can tell. */
MUST_CHECK int domctl_load(struct domain *d, const struct guest_payload *payload, const char **why);

/* -EINVAL: not in the state for it; start: -ENOEXEC nothing is loaded; pause: DOMAIN_AGAIN while a
 * vCPU of it still runs on another CPU, and 0 when it is paused already. */
MUST_CHECK int domctl_start(struct domain *d);
MUST_CHECK int domctl_pause(struct domain *d);
MUST_CHECK int domctl_resume(struct domain *d);

/* The domain is dying now, and gone soon. -EBUSY: it is dying already. */
MUST_CHECK int domctl_destroy(struct domain *d);

void domctl_describe(const struct domain *d, struct hc_domain *out);
void domctl_stats(const struct domain *d, struct hc_dom_stats *out);

/* By name, or else by number; NULL. */
struct domain *domctl_find(const char *name, size_t len);

/* The hypercalls, HC_DOM_* and HC_CONSOLE_* (core/domain_calls.c): RAX says which. */
struct vcpu;
int64_t domain_call(struct vcpu *v);

#endif
