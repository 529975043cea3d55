/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which clean bit stands for which field of a VMCB; what a VMCB tells of the instruction that has
 * exited. Pure; for svm/ alone.
 */
#ifndef HV_VMCB_H
#define HV_VMCB_H

#include "hv/insn.h"
#include "hv/insn_exit.h"
#include "hv/types.h"
#include "hw/svm.h"

/* Is a byte at this offset in one of the fields from `first` up to `end`? */
#define VMCB_WITHIN(offset, first, end) \
    ((offset) + 1 > offsetof(struct vmcb, first) && (offset) < offsetof(struct vmcb, end))

/* SVM_CLEAN_* of the field at an offset, which the CPU may take from where it keeps the VMCB when
 * the bit is set. 0: each VMRUN, or VMLOAD, loads it. APM volume 2, "VMCB Clean Field". */
static inline uint32_t vmcb_clean_bit(size_t offset)
{
    if (VMCB_WITHIN(offset, intercept_cr, iopm_pa) || VMCB_WITHIN(offset, tsc_offset, asid)) {
        return SVM_CLEAN_INTERCEPTS;
    }
    if (VMCB_WITHIN(offset, iopm_pa, tsc_offset)) {
        return SVM_CLEAN_MAPS;
    }
    if (VMCB_WITHIN(offset, asid, tlb_control)) {
        return SVM_CLEAN_ASID;
    }
    if (VMCB_WITHIN(offset, int_ctl, interrupt_shadow)) {
        return SVM_CLEAN_TPR;
    }
    if (VMCB_WITHIN(offset, np_enable, reserved2) || VMCB_WITHIN(offset, nested_cr3, lbr_control) ||
        VMCB_WITHIN(offset, pat, reserved10)) {
        return SVM_CLEAN_NP;
    }
    if (VMCB_WITHIN(offset, efer, reserved6) || VMCB_WITHIN(offset, cr4, dr7)) {
        return SVM_CLEAN_CR;
    }
    if (VMCB_WITHIN(offset, dr7, rflags)) {
        return SVM_CLEAN_DR;
    }
    if (VMCB_WITHIN(offset, gdtr, ldtr) || VMCB_WITHIN(offset, idtr, tr)) {
        return SVM_CLEAN_DT;
    }
    if (VMCB_WITHIN(offset, es, fs) || VMCB_WITHIN(offset, cpl, reserved5)) {
        return SVM_CLEAN_SEG;
    }
    return VMCB_WITHIN(offset, cr2, reserved9) ? SVM_CLEAN_CR2 : 0;
}

/* Length of the instruction; 0: not told. For CPUs that save the next RIP. */
static inline uint8_t vmcb_insn_length(const struct vmcb *c)
{
    uint64_t length = c->next_rip - c->rip;

    return length <= INSN_MAX ? (uint8_t)length : 0;
}

/* MOV to or from a control register, or to a debug register, as decode assists tell it (APM volume
 * 2, "Decode Assists"). False for an exit that is none. */
static inline bool vmcb_mov(const struct vmcb *c, struct insn_exit *insn)
{
    bool debug = c->exit_code >= SVM_EXIT_DR_WRITE(0);
    bool to = c->exit_code >= SVM_EXIT_CR_WRITE(0);
    uint8_t length = vmcb_insn_length(c);

    if (length == 0 || (!debug && !(c->exit_info1 & SVM_MOV_CR))) {
        return false;
    }
    *insn = (struct insn_exit){
        .length = length,
        .opcode = debug ? INSN_MOV_TO_DR
                  : to  ? INSN_MOV_TO_CR
                        : INSN_MOV_FROM_CR,
        .reg = c->exit_code & 0xf,
        .rm = c->exit_info1 & SVM_MOV_GPR,
    };
    return true;
}

#endif
