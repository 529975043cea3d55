/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPU state to and from its records, field by field: no internal layout reaches the stream.
 *
 * Host test: tests/host/test_vcpu_record.c
 */
#include "lu_priv.h"

#include "hv/errno.h"
#include "hv/string.h"
#include "hv/vcpu.h"
#include "hw/x86.h"

static void segment_to_record(const struct segment_reg *s, struct lu_segment *rec)
{
    rec->selector = s->selector;
    rec->limit = s->limit;
    rec->base = s->base;
    rec->access = s->access;
}

static uint32_t activity(const struct vcpu *v)
{
    switch (v->run_state) {
    case VCPU_HALTED:
        return LU_VCPU_HALTED;
    case VCPU_DOWN:
        return LU_VCPU_SHUTDOWN;
    case VCPU_WAIT_SIPI:
        return LU_VCPU_WAIT_SIPI;
    default:
        return LU_VCPU_RUNNING; /* a sleeper has its wake_tsc */
    }
}

void vcpu_to_record(struct vcpu *v, const struct vcpu_state *s, struct lu_rec_vcpu *rec)
{
    memset(rec, 0, sizeof(*rec));
    rec->vcpu = (uint16_t)v->id;
    rec->activity = activity(v);
    rec->wake_tsc = v->run_state == VCPU_SLEEPING ? v->wake_tsc : 0;
    for (unsigned int i = 0; i < GPR_COUNT; i++) {
        rec->gpr[i] = s->gpr[i];
    }
    rec->rip = s->rip;
    rec->rflags = s->rflags;
    rec->cr0 = s->cr0;
    rec->cr2 = s->cr2;
    rec->cr3 = s->cr3;
    rec->cr4 = s->cr4;
    rec->cr8 = s->cr8;
    rec->xcr0 = s->xcr0;
    rec->efer = s->efer;
    for (unsigned int i = 0; i < 4; i++) {
        rec->dr[i] = s->dr[i];
        rec->pdpte[i] = s->pdpte[i];
    }
    rec->dr6 = s->dr6;
    rec->dr7 = s->dr7;
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        segment_to_record(&s->seg[i], &rec->segments[i]);
    }
    rec->gdtr.base = s->gdtr.base;
    rec->gdtr.limit = s->gdtr.limit;
    rec->idtr.base = s->idtr.base;
    rec->idtr.limit = s->idtr.limit;
    rec->interruptibility = s->interruptibility;
    rec->event = s->event;
    rec->event_error = s->event_error;
    rec->event_length = s->event_length;
    rec->pending_debug = s->pending_debug;
    rec->tsc_offset = s->tsc_offset;
}

void vcpu_from_record(const struct lu_rec_vcpu *rec, struct vcpu_state *s)
{
    memset(s, 0, sizeof(*s));
    for (unsigned int i = 0; i < GPR_COUNT; i++) {
        s->gpr[i] = rec->gpr[i];
    }
    s->rip = rec->rip;
    s->rflags = rec->rflags;
    s->cr0 = rec->cr0;
    s->cr2 = rec->cr2;
    s->cr3 = rec->cr3;
    s->cr4 = rec->cr4;
    s->cr8 = rec->cr8;
    s->xcr0 = rec->xcr0;
    s->efer = rec->efer;
    for (unsigned int i = 0; i < 4; i++) {
        s->dr[i] = rec->dr[i];
        s->pdpte[i] = rec->pdpte[i];
    }
    s->dr6 = rec->dr6;
    s->dr7 = rec->dr7;
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        s->seg[i].selector = rec->segments[i].selector;
        s->seg[i].limit = rec->segments[i].limit;
        s->seg[i].base = rec->segments[i].base;
        s->seg[i].access = rec->segments[i].access;
    }
    s->gdtr.base = rec->gdtr.base;
    s->gdtr.limit = rec->gdtr.limit;
    s->idtr.base = rec->idtr.base;
    s->idtr.limit = rec->idtr.limit;
    s->interruptibility = rec->interruptibility;
    s->event = rec->event;
    s->event_error = rec->event_error;
    s->event_length = rec->event_length;
    s->pending_debug = rec->pending_debug;
    s->tsc_offset = rec->tsc_offset;
}

/* Where an MSR of the record lives in the neutral state; NULL for an unknown one. */
static uint64_t *msr_field(struct vcpu_state *s, uint32_t index)
{
    switch (index) {
    case MSR_STAR:
        return &s->msr[GUEST_MSR_STAR];
    case MSR_LSTAR:
        return &s->msr[GUEST_MSR_LSTAR];
    case MSR_CSTAR:
        return &s->msr[GUEST_MSR_CSTAR];
    case MSR_SFMASK:
        return &s->msr[GUEST_MSR_SFMASK];
    case MSR_KERNEL_GS_BASE:
        return &s->msr[GUEST_MSR_KERNEL_GS_BASE];
    case MSR_TSC_AUX:
        return &s->msr[GUEST_MSR_TSC_AUX];
    case MSR_SYSENTER_CS:
        return &s->sysenter_cs;
    case MSR_SYSENTER_ESP:
        return &s->sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &s->sysenter_eip;
    case MSR_PAT:
        return &s->pat;
    default:
        return NULL;
    }
}

size_t msrs_to_record(const struct vcpu_state *s, struct lu_msr out[LU_VCPU_MSRS_MAX])
{
    static const uint32_t list[] = {
        MSR_STAR,    MSR_LSTAR,       MSR_CSTAR,        MSR_SFMASK,       MSR_KERNEL_GS_BASE,
        MSR_TSC_AUX, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_PAT,
    };

    _Static_assert(ARRAY_SIZE(list) <= LU_VCPU_MSRS_MAX, "room for all MSRs");
    for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
        /* msr_field() only points; the state is not written here */
        out[i] = (struct lu_msr){list[i], 0,
                                 *msr_field((struct vcpu_state *)(uintptr_t)s, list[i])};
    }
    return ARRAY_SIZE(list);
}

int msr_from_record(const struct lu_msr *msr, struct vcpu_state *s)
{
    uint64_t *field = msr_field(s, msr->index);

    if (field == NULL || msr->reserved != 0) {
        return -EINVAL;
    }
    *field = msr->value;
    return 0;
}
