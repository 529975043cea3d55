/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neutral vCPU state out of the VMCS and into it.
 *
 * SDM volume 3, "Guest-State Area".
 */
#include "vmx_priv.h"

#include "hv/string.h"
#include "hw/vmx.h"
#include "hw/x86.h"
#include "vmx_asm.h"

/* Fields of one kind follow each other in the order of enum segment. */
_Static_assert(SEG_ES == 0 && SEG_CS == 1 && SEG_SS == 2 && SEG_DS == 3 && SEG_FS == 4 &&
                   SEG_GS == 5 && SEG_LDTR == 6 && SEG_TR == 7,
               "segment fields of the VMCS");

static void save_segment(struct segment_reg *seg, unsigned int i)
{
    seg->selector = (uint16_t)vmread(VMCS_GUEST_ES_SELECTOR + 2 * i);
    seg->base = vmread(VMCS_GUEST_ES_BASE + 2 * i);
    seg->limit = vmread32(VMCS_GUEST_ES_LIMIT + 2 * i);
    seg->access = vmread32(VMCS_GUEST_ES_ACCESS + 2 * i);
    if (seg->access & SEG_UNUSABLE) {
        /* The other bits are undefined, but for the privilege level in SS. */
        seg->access &= SEG_UNUSABLE | AR_DPL_MASK << AR_DPL_SHIFT;
    }
}

static void load_segment(const struct segment_reg *seg, unsigned int i)
{
    vmwrite(VMCS_GUEST_ES_SELECTOR + 2 * i, seg->selector);
    vmwrite(VMCS_GUEST_ES_BASE + 2 * i, seg->base);
    vmwrite(VMCS_GUEST_ES_LIMIT + 2 * i, seg->limit);
    vmwrite(VMCS_GUEST_ES_ACCESS + 2 * i, seg->access);
}

void vmx_state_save(struct vcpu *v, struct vcpu_state *s)
{
    struct vmx_vcpu *x = vmcs_load(v);

    memcpy(s->gpr, v->gpr, sizeof(s->gpr));
    s->gpr[GPR_RSP] = vmread(VMCS_GUEST_RSP);
    s->rip = vmread(VMCS_GUEST_RIP);
    s->rflags = vmread(VMCS_GUEST_RFLAGS);
    s->cr0 = vmx_get_cr0();
    s->cr3 = vmread(VMCS_GUEST_CR3);
    s->cr4 = vmx_get_cr4();
    s->efer = vmread(VMCS_GUEST_EFER);
    s->dr7 = vmread(VMCS_GUEST_DR7);
    for (unsigned int i = 0; i < ARRAY_SIZE(s->pdpte); i++) {
        bool loaded = guest_pae_paging(s->cr0, s->cr4, s->efer);

        s->pdpte[i] = loaded ? vmread(VMCS_GUEST_PDPTE0 + 2 * i) : 0;
    }
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        save_segment(&s->seg[i], i);
    }
    s->gdtr.base = vmread(VMCS_GUEST_GDTR_BASE);
    s->gdtr.limit = vmread32(VMCS_GUEST_GDTR_LIMIT);
    s->idtr.base = vmread(VMCS_GUEST_IDTR_BASE);
    s->idtr.limit = vmread32(VMCS_GUEST_IDTR_LIMIT);
    s->sysenter_cs = vmread32(VMCS_GUEST_SYSENTER_CS);
    s->sysenter_esp = vmread(VMCS_GUEST_SYSENTER_ESP);
    s->sysenter_eip = vmread(VMCS_GUEST_SYSENTER_EIP);
    s->pat = vmread(VMCS_GUEST_PAT);
    s->tsc_offset = vmread(VMCS_TSC_OFFSET);
    s->pending_debug = vmread(VMCS_GUEST_PENDING_DEBUG) &
                       (PENDING_DEBUG_TRAPS | PENDING_DEBUG_ENABLED | PENDING_DEBUG_BS |
                        PENDING_DEBUG_RTM);
    s->interruptibility = vmread32(VMCS_GUEST_INTERRUPTIBILITY) &
                          (INTR_BLOCK_STI | INTR_BLOCK_MOV_SS | INTR_BLOCK_NMI);
    s->event = x->next.event.info;
    s->event_error = x->next.event.error_code;
    s->event_length = x->next.event.length;
}

int vmx_state_load(struct vcpu *v, const struct vcpu_state *s)
{
    int rc = guest_state_check(s);

    if (rc != 0) {
        return rc;
    }
    struct vmx_vcpu *x = vmcs_load(v);
    memcpy(v->gpr, s->gpr, sizeof(v->gpr));
    vmwrite(VMCS_GUEST_RSP, s->gpr[GPR_RSP]);
    vmwrite(VMCS_GUEST_RIP, s->rip);
    vmwrite(VMCS_GUEST_RFLAGS, s->rflags | RFLAGS_FIXED);
    vmx_set_mode(s->cr0, s->cr4, s->efer);
    vmwrite(VMCS_GUEST_CR3, s->cr3);
    vmwrite(VMCS_GUEST_DR7, s->dr7);
    for (unsigned int i = 0; i < ARRAY_SIZE(s->pdpte); i++) {
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, s->pdpte[i]);
    }
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        load_segment(&s->seg[i], i);
    }
    vmwrite(VMCS_GUEST_GDTR_BASE, s->gdtr.base);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, s->gdtr.limit);
    vmwrite(VMCS_GUEST_IDTR_BASE, s->idtr.base);
    vmwrite(VMCS_GUEST_IDTR_LIMIT, s->idtr.limit);
    vmwrite(VMCS_GUEST_SYSENTER_CS, s->sysenter_cs);
    vmwrite(VMCS_GUEST_SYSENTER_ESP, s->sysenter_esp);
    vmwrite(VMCS_GUEST_SYSENTER_EIP, s->sysenter_eip);
    vmwrite(VMCS_GUEST_PAT, s->pat);
    vmwrite(VMCS_TSC_OFFSET, s->tsc_offset);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, s->pending_debug);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, s->interruptibility);
    x->nmi_blocked = s->interruptibility & INTR_BLOCK_NMI;
    x->next.event = (struct guest_event){
        .info = s->event,
        .error_code = s->event_error,
        .length = s->event_length,
    };
    x->next.shutdown = false;
    x->flush_vpid = true;
    return 0;
}
