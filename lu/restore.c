/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the facts: domains are made from a stream that restore_check() has found good.
 *
 * Host test: tests/host/test_restore.c, tests/host/test_golden.c
 */
#include "lu_priv.h"

#include "hv/console.h"
#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/fault.h"
#include "hv/machine.h"
#include "hv/modules.h"
#include "hv/sched.h"
#include "hv/string.h"
#include "hv/time.h"
#include "hv/wallclock.h"
#include "hw/x86.h"

void restore_host(struct stream_reader *r)
{
    struct stream_item item;

    lu.from_stream_version = r->version;
    stream_rewind(r);
    while (stream_next(r, &item)) {
        if (item.type == LU_REC_HOST) {
            const struct lu_rec_host *rec = (const void *)item.data;

            tsc_khz = rec->tsc_khz;
            str_copy(lu.from_version, sizeof(lu.from_version), rec->version);
            str_copy(lu.from_build_id, sizeof(lu.from_build_id), rec->build_id);
        } else if (item.type == LU_REC_HOST_STATE) {
            const struct lu_rec_host_state *rec = (const void *)item.data;

            lu.updates = rec->updates + 1;
            lu.refused = rec->refused;
            lu.attempts = rec->attempts;
            if (rec->flags & LU_HOST_SHUTDOWN) {
                machine_request_shutdown();
            }
        } else if (item.type == LU_REC_CPUS) {
            const struct lu_rec_cpus *rec = (const void *)item.data;

            lu.virtualized = rec->flags & LU_CPUS_VIRTUALIZED;
        }
    }
    stream_rewind(r);
}

static int apply_module(const struct stream_item *item, const char **why)
{
    const struct lu_rec_module *rec = (const void *)item->data;

    *why = "out of memory for modules";
    return modules_add_image(rec->start_pa, rec->bytes, (const char *)(rec + 1),
                             rec->cmdline_length);
}

static int apply_domain(const struct stream_item *item, const char **why)
{
    const struct lu_rec_domain *rec = (const void *)item->data;
    struct domain *d = domain_create(rec->name, rec->id, rec->flags & LU_DOMAIN_CONTROL);

    *why = "out of memory for a domain";
    if (d == NULL) {
        return -ENOMEM;
    }
    d->memory_bytes = rec->memory_bytes;
    return extent_map_reserve(&d->extents, rec->extents);
}

/* The frames are the domain's already: restore_check() has taken them. */
static int apply_extents(const struct stream_item *item, const char **why)
{
    const struct lu_rec_extents *rec = (const void *)item->data;
    const struct lu_extent *e = (const void *)(rec + 1);
    struct domain *d = domain_find(rec->domain);
    size_t n = (item->length - sizeof(*rec)) / sizeof(*e);

    for (size_t i = 0; i < n; i++, e++) {
        int rc = extent_map_add(&d->extents, gfn_from(e->gfn), mfn_from(e->mfn), e->order,
                                e->flags);

        if (rc != 0) {
            *why = "an extent cannot be added";
            return rc;
        }
    }
    return 0;
}

static int apply_fresh(const struct stream_item *item, const char **why)
{
    const struct lu_rec_fresh *rec = (const void *)item->data;
    const struct lu_fresh_run *r = (const void *)(rec + 1);
    struct fresh *f = &domain_find(rec->domain)->fresh;
    size_t n = (item->length - sizeof(*rec)) / sizeof(*r);
    int rc = 0;

    *why = "out of memory for runs of fresh memory";
    for (; n > 0 && rc == 0; n--, r++) {
        rc = fresh_add(f, r->gfn, r->gfn + r->frames);
    }
    return rc;
}

static void apply_domain_state(const struct stream_item *item)
{
    const struct lu_rec_domain_state *rec = (const void *)item->data;
    struct domain *d = domain_find(rec->domain);

    d->exit_code = rec->exit_code;
    d->state = rec->state == LU_DOMAIN_RUNNING  ? DOMAIN_RUNNING
               : rec->state == LU_DOMAIN_EXITED ? DOMAIN_EXITED
               : rec->state == LU_DOMAIN_PAUSED ? DOMAIN_PAUSED
               : rec->state == LU_DOMAIN_NEW    ? DOMAIN_NEW
                                                : DOMAIN_STOPPED;
}

static void apply_vuart(const struct stream_item *item)
{
    const struct lu_rec_vuart *rec = (const void *)item->data;
    struct vuart *u = &domain_find(rec->domain)->uart;

    u->ier = rec->ier;
    u->lcr = rec->lcr;
    u->mcr = rec->mcr;
    u->scr = rec->scr;
    u->fcr = rec->fcr;
    u->lsr_errors = rec->lsr_errors;
    u->divisor = rec->divisor;
    u->rx_count = rec->rx_count;
    u->tx_event = rec->flags & LU_VUART_TX_EVENT;
    /* The event may be that the transmitter is empty after it was full: the guest has not been told
     * yet, the console tells it. */
    u->tx_blocked = u->tx_event;
    memcpy(u->rx, rec->rx, rec->rx_count);
    u->line_length = rec->tx_length;
    memcpy(u->line, rec + 1, rec->tx_length);
}

static void apply_output(const struct stream_item *item)
{
    const struct lu_rec_output *rec = (const void *)item->data;
    struct domain *d = domain_find(rec->domain);

    output_restore(&d->output, (const uint8_t *)(rec + 1), rec->length, rec->total);
    d->uart.line_shown = rec->shown;
}

static void apply_edit(const struct stream_item *item)
{
    const struct lu_rec_edit *rec = (const void *)item->data;

    console_restore_edit((const char *)(rec + 1), rec->length, rec->flags & LU_EDIT_ESCAPE);
}

static void apply_clock(const struct stream_item *item)
{
    const struct lu_rec_clock *rec = (const void *)item->data;

    domain_find(rec->domain)->clock = (struct pvclock){.base_tsc = rec->base_tsc,
                                                       .wall_sec = rec->wall_sec,
                                                       .wall_nsec = rec->wall_nsec,
                                                       .wall_msr = rec->wall_msr};
    wallclock_learn(&domain_find(rec->domain)->clock);
}

static void apply_ioapic(const struct stream_item *item)
{
    const struct lu_rec_ioapic *rec = (const void *)item->data;

    ioapic_from_record(rec, &domain_find(rec->domain)->ioapic);
}

/* A vCPU with the MSRS and XSAVE records that follow it. */
static int apply_vcpu(struct stream_reader *r, const struct stream_item *item, const char **why)
{
    const struct lu_rec_vcpu *rec = (const void *)item->data;
    struct domain *d = domain_find(rec->domain);
    struct stream_reader ahead = *r;
    struct vcpu_state state;
    struct stream_item next;
    const struct stream_item none = {0};
    struct stream_item xsave = none, lapic = none, clock = none, signals = none;
    struct vcpu *v;
    int rc;

    vcpu_from_record(rec, &state);
    while (stream_next(&ahead, &next)) {
        if (next.type == LU_REC_MSRS) {
            const struct lu_rec_msrs *m = (const void *)next.data;
            const struct lu_msr *list = (const void *)(m + 1);

            for (uint32_t i = 0; i < m->count; i++) {
                (void)!msr_from_record(&list[i], &state); /* checked before */
            }
        } else if (next.type == LU_REC_XSAVE) {
            xsave = next;
        } else if (next.type == LU_REC_LAPIC) {
            lapic = next;
        } else if (next.type == LU_REC_VCPU_CLOCK) {
            clock = next;
        } else if (next.type == LU_REC_SIGNALS) {
            signals = next;
        } else if (!(next.type & LU_REC_OPTIONAL)) {
            break;
        }
    }
    rc = vcpu_create(d, rec->vcpu, &state, &v);
    *why = "a vCPU's state is refused, or there is no memory for it";
    if (rc == 0 && xsave.data != NULL && v->ctx.xsave != NULL) {
        const struct lu_rec_xsave *x = (const void *)xsave.data;

        rc = context_set_xsave(&v->ctx, x + 1, x->bytes);
    }
    if (rc != 0) {
        return rc;
    }
    if (lapic.data != NULL) {
        lapic_from_record((const void *)lapic.data, &v->apic);
    }
    if (clock.data != NULL) {
        const struct lu_rec_vcpu_clock *k = (const void *)clock.data;

        v->clock.system_time_msr = k->system_time_msr;
    }
    if (signals.data != NULL) {
        const struct lu_rec_signals *s = (const void *)signals.data;

        v->signals = (s->signals & LU_SIGNAL_NMI) ? VCPU_SIGNAL_NMI : 0;
    }
    v->wake_tsc = rec->wake_tsc;
    v->run_state = rec->activity == LU_VCPU_HALTED      ? VCPU_HALTED
                   : rec->activity == LU_VCPU_WAIT_SIPI ? VCPU_WAIT_SIPI
                   : rec->activity == LU_VCPU_SHUTDOWN  ? VCPU_DOWN
                   : rec->wake_tsc != 0                 ? VCPU_SLEEPING
                                                        : VCPU_RUNNABLE;
    v->deaf = v->run_state == VCPU_HALTED && !(rec->rflags & RFLAGS_IF);
    if (d->state == DOMAIN_RUNNING && v->run_state != VCPU_DOWN) {
        sched_add(v);
    }
    return 0;
}

static void apply_console(const struct stream_item *item)
{
    const struct lu_rec_console *rec = (const void *)item->data;

    console_restore((const uint8_t *)(rec + 1), rec->length, rec->focus);
}

int restore_apply(struct stream_reader *r, const char **why)
{
    struct stream_item item;
    int rc = 0;

    stream_rewind(r);
    while (rc == 0 && stream_next(r, &item)) {
        switch (item.type) {
        case LU_REC_MODULE:
            FAULT_POINT("new.record.module");
            rc = apply_module(&item, why);
            break;
        case LU_REC_DOMAIN:
            FAULT_POINT("new.record.domain");
            rc = apply_domain(&item, why);
            break;
        case LU_REC_EXTENTS:
            FAULT_POINT("new.record.extents");
            rc = apply_extents(&item, why);
            break;
        case LU_REC_FRESH:
            rc = apply_fresh(&item, why);
            break;
        case LU_REC_DOMAIN_STATE:
            FAULT_POINT("new.record.domain_state");
            apply_domain_state(&item);
            break;
        case LU_REC_VUART:
            FAULT_POINT("new.record.vuart");
            apply_vuart(&item);
            break;
        case LU_REC_CLOCK:
            FAULT_POINT("new.record.clock");
            apply_clock(&item);
            break;
        case LU_REC_IOAPIC:
            FAULT_POINT("new.record.ioapic");
            apply_ioapic(&item);
            break;
        case LU_REC_VCPU:
            FAULT_POINT("new.record.vcpu");
            rc = apply_vcpu(r, &item, why);
            break;
        case LU_REC_OUTPUT:
            FAULT_POINT("new.record.output");
            apply_output(&item);
            break;
        case LU_REC_EDIT:
            FAULT_POINT("new.record.edit");
            apply_edit(&item);
            break;
        case LU_REC_CONSOLE:
            FAULT_POINT("new.record.console");
            apply_console(&item);
            break;
        default: /* HOST: restore_host(); CPUS: checked; MSRS, XSAVE: with their vCPU */
            break;
        }
    }
    return rc;
}
