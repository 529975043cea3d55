/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest-linear memory, through the guest's own page tables.
 *
 * Other vCPUs of the domain run meanwhile and may change tables and memory at any time: every entry
 * is read once, and what has been translated is used as it is.
 */
#ifndef HV_GUEST_WALK_H
#define HV_GUEST_WALK_H

#include "hv/compiler.h"
#include "hv/insn.h"
#include "hv/types.h"
#include "hv/vcpu.h"

enum guest_access {
    GUEST_READ,
    GUEST_WRITE,
    GUEST_FETCH, /* of instructions */
};

/*
 * Translates a linear address for an explicit access of the loaded vCPU and sets the accessed and
 * dirty bits. Returns 0 with *gpa, or -EFAULT with the error code that #PF would have. SDM volume
 * 3, "Paging". There are no protection keys and no 5-level paging.
 */
MUST_CHECK int guest_walk(struct vcpu *v, uint64_t linear, enum guest_access access, bool user,
                          uint64_t *gpa, uint32_t *pf_error);

#define GUEST_SPAN_MAX 8U /* bytes */

/* Where an operand of up to 8 bytes lies: in one page, or two. */
struct guest_span {
    uint64_t gpa[2];
    size_t bytes[2]; /* the second is 0 in one page */
};

/* Translates all of an operand. 0; -EFAULT: a fault has been raised in the guest (#PF, or #GP for
 * an address that is not canonical). */
MUST_CHECK int guest_span_find(struct vcpu *v, uint64_t linear, enum guest_access access, bool user,
                               size_t len, struct guest_span *span);

/* Copies it. 0; -EFAULT: it is not in the domain's memory, and the domain was stopped. */
MUST_CHECK int guest_span_read(struct vcpu *v, const struct guest_span *span, void *to);
MUST_CHECK int guest_span_write(struct vcpu *v, const struct guest_span *span, const void *from);

/* Bytes at RIP. The guest has executed them just now. Since then another vCPU may have changed
 * them, which is the guest's own affair, or taken away the page: faulted. */
struct guest_insn {
    uint8_t bytes[INSN_MAX];
    size_t n;
    bool faulted;
    uint64_t linear; /* of the fault */
    uint32_t error;
};
struct hvm_exit;
void guest_insn_fetch(struct vcpu *v, const struct hvm_exit *exit, struct guest_insn *out);

#endif
