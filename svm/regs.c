/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest registers by name, and the neutral vCPU state out of the VMCB and into it.
 *
 * The VMCB holds control registers as the guest has written them; writes of CR0 and CR4 exit. APM
 * volume 2, "VMCB State Save Area", "Segment State in the VMCB".
 *
 * Host test: tests/host/test_state_check.c
 */
#include "svm_priv.h"

#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/printk.h"
#include "hv/string.h"
#include "hw/vmx.h" /* access rights of the neutral state: AR_* */

#define ATTRIBUTES_P 0x80U
#define SMALL_LIMIT 0xfffffU /* bytes; above it is in pages */
#define AR_TYPE_BUSY_BIT 2U

void svm_set_mode(struct svm_vcpu *x, uint64_t cr0, uint64_t cr4, uint64_t efer)
{
    bool long_mode = (cr0 & CR0_PG) && (efer & EFER_LME);

    vmcb_set(x, cr0, cr0 | CR0_ET);
    vmcb_set(x, cr4, cr4);
    vmcb_set(x, efer, (efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0) | EFER_SVME);
    x->flush = true;
}

/* QEMU keeps a list of breakpoints that MOV to DR changes and VMRUN does not. Where a guest enables
 * or moves one by itself, it stays in the list whatever DR7 becomes; later QEMU takes it for one of
 * another kind, and ends with a segmentation fault. So a guest never does. DR5 is DR7 where CR4.DE
 * is clear. */
void svm_set_dr7(struct svm_vcpu *x, uint64_t dr7)
{
    uint32_t writes = SVM_DR_WRITE(5) | SVM_DR_WRITE(7);

    if (dr7 & DR7_ENABLE) {
        writes |= SVM_DR_WRITE(0) | SVM_DR_WRITE(1) | SVM_DR_WRITE(2) | SVM_DR_WRITE(3);
    }
    vmcb_set(x, dr7, dr7);
    vmcb_set(x, intercept_dr, writes);
}

static uint64_t efer_of(const struct svm_vcpu *x)
{
    return x->vmcb->efer & ~EFER_SVME;
}

uint64_t svm_reg_get(struct vcpu *v, enum hvm_reg reg)
{
    const struct svm_vcpu *x = svm_of(v);
    const struct vmcb *c = x->vmcb;

    switch (reg) {
    case HVM_REG_RIP:
        return c->rip;
    case HVM_REG_RSP:
        return c->rsp;
    case HVM_REG_RFLAGS:
        return c->rflags;
    case HVM_REG_CR0:
        return c->cr0;
    case HVM_REG_CR3:
        return c->cr3;
    case HVM_REG_CR4:
        return c->cr4;
    case HVM_REG_EFER:
        return efer_of(x);
    case HVM_REG_PAT:
        return c->pat;
    case HVM_REG_DR7:
        return c->dr7;
    case HVM_REG_TSC_OFFSET:
        return c->tsc_offset;
    case HVM_REG_CS_BASE:
        return c->cs.base;
    case HVM_REG_PDPTE0:
    case HVM_REG_PDPTE1:
    case HVM_REG_PDPTE2:
    case HVM_REG_PDPTE3: { /* the CPU reads them when it needs them: so does whoever asks */
        uint64_t at = (c->cr3 & BITS(31, 5)) + 8 * (uint64_t)(reg - HVM_REG_PDPTE0), entry = 0;

        (void)!domain_read(v->domain, at, &entry, sizeof(entry));
        return guest_pdpte(entry);
    }
    }
    panic("svm: register %d", (int)reg);
}

void svm_reg_set(struct vcpu *v, enum hvm_reg reg, uint64_t value)
{
    struct svm_vcpu *x = svm_of(v);
    const struct vmcb *c = x->vmcb;

    switch (reg) {
    case HVM_REG_RIP:
        vmcb_set(x, rip, value);
        return;
    case HVM_REG_RSP:
        vmcb_set(x, rsp, value);
        return;
    case HVM_REG_RFLAGS:
        vmcb_set(x, rflags, value | RFLAGS_FIXED);
        return;
    case HVM_REG_CR0:
        svm_set_mode(x, value, c->cr4, efer_of(x));
        return;
    case HVM_REG_CR3:
        vmcb_set(x, cr3, value);
        x->flush = true;
        return;
    case HVM_REG_CR4:
        svm_set_mode(x, c->cr0, value, efer_of(x));
        return;
    case HVM_REG_EFER:
        svm_set_mode(x, c->cr0, c->cr4, value);
        return;
    case HVM_REG_PAT:
        vmcb_set(x, pat, value);
        return;
    case HVM_REG_DR7:
        svm_set_dr7(x, value);
        return;
    case HVM_REG_TSC_OFFSET:
        vmcb_set(x, tsc_offset, value);
        return;
    default: /* only read */
        break;
    }
    panic("svm: register %d", (int)reg);
}

/* ---- segments ---- */

/* Where they stand in the VMCB. */
static const uint16_t segment_offset[SEG_COUNT] = {
    [SEG_ES] = offsetof(struct vmcb, es),     [SEG_CS] = offsetof(struct vmcb, cs),
    [SEG_SS] = offsetof(struct vmcb, ss),     [SEG_DS] = offsetof(struct vmcb, ds),
    [SEG_FS] = offsetof(struct vmcb, fs),     [SEG_GS] = offsetof(struct vmcb, gs),
    [SEG_LDTR] = offsetof(struct vmcb, ldtr), [SEG_TR] = offsetof(struct vmcb, tr),
};

/* QEMU lets a guest set registers to what a CPU refuses, and so would the next image. */
static uint64_t canonical(uint64_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16);
}

static void save_msrs(const struct vmcb *c, uint64_t *msr, struct vcpu_state *s)
{
    msr[GUEST_MSR_LSTAR] = canonical(msr[GUEST_MSR_LSTAR]);
    msr[GUEST_MSR_CSTAR] = canonical(msr[GUEST_MSR_CSTAR]);
    msr[GUEST_MSR_KERNEL_GS_BASE] = canonical(msr[GUEST_MSR_KERNEL_GS_BASE]);
    msr[GUEST_MSR_SFMASK] = (uint32_t)msr[GUEST_MSR_SFMASK];
    msr[GUEST_MSR_TSC_AUX] = (uint32_t)msr[GUEST_MSR_TSC_AUX];
    s->sysenter_cs = (uint32_t)c->sysenter_cs;
    s->sysenter_esp = canonical(c->sysenter_esp);
    s->sysenter_eip = canonical(c->sysenter_eip);
}

/* Access rights have G to AVL in bits 15:12, attributes in 11:8. A segment that cannot be used is
 * one that is not present. CPUs do not keep G of each segment: the limit tells. */
static void save_segment(const struct vmcb *c, unsigned int i, struct segment_reg *seg)
{
    const struct vmcb_segment *from = (const void *)((const char *)c + segment_offset[i]);

    seg->selector = from->selector;
    seg->base = canonical(from->base);
    seg->limit = from->limit;
    seg->access = (from->attributes & 0xffU) | (uint32_t)(from->attributes & 0xf00U) << 4;
    if (!(from->attributes & ATTRIBUTES_P)) {
        seg->access = SEG_UNUSABLE;
        return;
    }
    seg->access = (seg->access & ~AR_G) | (from->limit > SMALL_LIMIT ? AR_G : 0);
    if (seg->access & AR_S) { /* loaded, so accessed: QEMU keeps what it read */
        seg->access |= AR_TYPE_ACCESSED;
    }
}

static void load_segment(const struct segment_reg *seg, struct vmcb *c, unsigned int i)
{
    struct vmcb_segment *to = (void *)((char *)c + segment_offset[i]);

    to->selector = seg->selector;
    to->base = seg->base;
    to->limit = seg->limit;
    to->attributes = (uint16_t)((seg->access & 0xffU) | (seg->access >> 4 & 0xf00U));
    if (seg->access & SEG_UNUSABLE) {
        to->attributes = 0;
    }
}

/* ---- all of it ---- */

void svm_state_save(struct vcpu *v, struct vcpu_state *s)
{
    struct svm_vcpu *x = svm_of(v);
    const struct vmcb *c = x->vmcb;

    svm_look_for_iret(x); /* or NMIs stay blocked until another IRET, which may never come */
    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
    s->gpr[GPR_RSP] = c->rsp;
    s->rip = c->rip;
    s->rflags = c->rflags;
    s->cr0 = c->cr0;
    s->cr3 = c->cr3;
    s->cr4 = c->cr4;
    s->efer = efer_of(x);
    s->dr7 = c->dr7;
    for (unsigned int i = 0; i < ARRAY_SIZE(s->pdpte); i++) {
        bool loaded = guest_pae_paging(s->cr0, s->cr4, s->efer);

        s->pdpte[i] = loaded ? svm_reg_get(v, HVM_REG_PDPTE0 + i) : 0;
    }
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        save_segment(c, i, &s->seg[i]);
    }
    s->seg[SEG_TR].access |= AR_TYPE_BUSY_BIT; /* loaded, so busy: the same */
    /* The privilege level has a field of its own. */
    s->seg[SEG_SS].access = (s->seg[SEG_SS].access & ~(AR_DPL_MASK << AR_DPL_SHIFT)) |
                            (uint32_t)(c->cpl & AR_DPL_MASK) << AR_DPL_SHIFT;
    s->gdtr = (struct table_reg){canonical(c->gdtr.base), c->gdtr.limit};
    s->idtr = (struct table_reg){canonical(c->idtr.base), c->idtr.limit};
    save_msrs(c, v->ctx.msr, s);
    s->pat = c->pat;
    s->tsc_offset = c->tsc_offset;
    s->pending_debug = 0;
    /* One shadow for both: with interrupts off it is MOV SS's. */
    s->interruptibility = (!(c->interrupt_shadow & SVM_SHADOW) ? 0
                           : (c->rflags & RFLAGS_IF)           ? INTR_BLOCK_STI
                                                               : INTR_BLOCK_MOV_SS) |
                          (x->nmi_blocked ? INTR_BLOCK_NMI : 0);
    s->event = x->next.event.info;
    s->event_error = x->next.event.error_code;
    s->event_length = x->next.event.length;
}

/* The step or breakpoint behind an instruction, which VMX holds pending: an exception here. */
static void load_pending_debug(struct vcpu *v, const struct vcpu_state *s)
{
    const struct guest_event db = {.info = EVENT_VALID | EVENT_TYPE_HW_EXCEPTION << 8 | EXC_DB};

    if ((s->pending_debug & (PENDING_DEBUG_ENABLED | PENDING_DEBUG_BS)) &&
        !(s->event & EVENT_VALID)) {
        v->ctx.dr6 |= s->pending_debug & (PENDING_DEBUG_TRAPS | PENDING_DEBUG_BS);
        event_raise(&svm_of(v)->next, &db);
    }
}

int svm_state_load(struct vcpu *v, const struct vcpu_state *s)
{
    struct svm_vcpu *x = svm_of(v);
    struct vmcb *c;
    int rc = guest_state_check(s);

    if (rc != 0) {
        return rc;
    }
    c = vmcb_open(x);
    memcpy(v->gpr, s->gpr, sizeof(v->gpr));
    c->rsp = s->gpr[GPR_RSP];
    c->rip = s->rip;
    c->rflags = s->rflags | RFLAGS_FIXED;
    svm_set_mode(x, s->cr0, s->cr4, s->efer);
    c->cr3 = s->cr3;
    svm_set_dr7(x, s->dr7);
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        load_segment(&s->seg[i], c, i);
    }
    /* As LTR leaves it here: to QEMU a busy TSS has no I/O permissions. */
    c->tr.attributes &= (uint16_t)~AR_TYPE_BUSY_BIT;
    c->cpl = (uint8_t)(s->seg[SEG_SS].access >> AR_DPL_SHIFT & AR_DPL_MASK);
    c->gdtr.base = s->gdtr.base;
    c->gdtr.limit = s->gdtr.limit;
    c->idtr.base = s->idtr.base;
    c->idtr.limit = s->idtr.limit;
    c->sysenter_cs = s->sysenter_cs;
    c->sysenter_esp = s->sysenter_esp;
    c->sysenter_eip = s->sysenter_eip;
    c->pat = s->pat;
    c->tsc_offset = s->tsc_offset;
    c->interrupt_shadow = (s->interruptibility & (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS)) ? SVM_SHADOW
                                                                                       : 0;
    x->nmi_blocked = s->interruptibility & INTR_BLOCK_NMI;
    x->iret_rip = 0;
    if (x->nmi_blocked) {
        c->intercept_misc1 |= SVM_MISC1_IRET;
    }
    x->next.event = (struct guest_event){
        .info = s->event,
        .error_code = s->event_error,
        .length = s->event_length,
    };
    x->next.shutdown = false;
    load_pending_debug(v, s);
    return 0;
}
