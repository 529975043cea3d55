/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest-linear memory, through the guest's own page tables.
 */
#ifndef HV_GUEST_WALK_H
#define HV_GUEST_WALK_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hv/vcpu.h"

/*
 * Translates a linear address for a data access of the loaded vCPU and sets the accessed and dirty
 * bits. Returns 0 with *gpa, or -EFAULT with the error code that #PF would have. SDM volume 3,
 * "Paging"; protection keys and reserved bits are not looked at.
 */
MUST_CHECK int guest_walk(struct vcpu *v, uint64_t linear, bool write, bool user, uint64_t *gpa,
                          uint32_t *pf_error);

/* Copies len bytes from or to guest-linear memory, across pages. 0; -EFAULT: a fault has been
 * raised in the guest (#PF, or #GP for an address that is not canonical), nothing else has
 * happened. */
MUST_CHECK int guest_linear_check(struct vcpu *v, uint64_t linear, bool write, bool user,
                                  size_t len); /* only looks: the access would not fault */
MUST_CHECK int guest_linear_read(struct vcpu *v, uint64_t linear, bool user, void *to, size_t len);
MUST_CHECK int guest_linear_write(struct vcpu *v, uint64_t linear, bool user, const void *from,
                                  size_t len);

#endif
