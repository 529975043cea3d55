/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt controllers to and from their records.
 */
#include "lu_priv.h"

#include "hv/errno.h"
#include "hv/string.h"
#include "hv/vioapic.h"
#include "hv/vlapic.h"

_Static_assert(VLAPIC_LVTS == 6 && VIOAPIC_PINS == 24, "array sizes of the records");

void lapic_to_record(const struct vlapic *a, struct lu_rec_lapic *rec)
{
    memset(rec, 0, sizeof(*rec));
    rec->id = a->id;
    rec->apic_base = a->apic_base;
    rec->tpr = a->tpr;
    rec->svr = a->svr;
    rec->ldr = a->ldr;
    rec->dfr = a->dfr;
    rec->esr = a->esr;
    rec->esr_pending = a->esr_pending;
    memcpy(rec->lvt, a->lvt, sizeof(rec->lvt));
    rec->icr = a->icr;
    memcpy(rec->irr, a->irr, sizeof(rec->irr));
    memcpy(rec->isr, a->isr, sizeof(rec->isr));
    memcpy(rec->tmr, a->tmr, sizeof(rec->tmr));
    rec->timer_initial = a->timer_initial;
    rec->timer_divide = a->timer_divide;
    rec->timer_start = a->timer_start;
    rec->tsc_deadline = a->tsc_deadline;
    rec->tsc_per_tick = a->tsc_per_tick;
}

void lapic_from_record(const struct lu_rec_lapic *rec, struct vlapic *a)
{
    memset(a, 0, sizeof(*a));
    a->id = rec->id;
    a->apic_base = rec->apic_base;
    a->tpr = rec->tpr;
    a->svr = rec->svr;
    a->ldr = rec->ldr;
    a->dfr = rec->dfr;
    a->esr = rec->esr;
    a->esr_pending = rec->esr_pending;
    memcpy(a->lvt, rec->lvt, sizeof(rec->lvt));
    a->icr = rec->icr;
    memcpy(a->irr, rec->irr, sizeof(rec->irr));
    memcpy(a->isr, rec->isr, sizeof(rec->isr));
    memcpy(a->tmr, rec->tmr, sizeof(rec->tmr));
    a->timer_initial = rec->timer_initial;
    a->timer_divide = rec->timer_divide;
    a->timer_start = rec->timer_start;
    a->tsc_deadline = rec->tsc_deadline;
    a->tsc_per_tick = rec->tsc_per_tick;
}

void ioapic_to_record(const struct vioapic *io, struct lu_rec_ioapic *rec)
{
    memset(rec, 0, sizeof(*rec));
    rec->select = io->select;
    rec->id = io->id;
    memcpy(rec->redirection, io->redirection, sizeof(rec->redirection));
    rec->lines = io->lines;
}

void ioapic_from_record(const struct lu_rec_ioapic *rec, struct vioapic *io)
{
    io->select = rec->select;
    io->id = rec->id;
    memcpy(io->redirection, rec->redirection, sizeof(rec->redirection));
    io->lines = rec->lines;
}
