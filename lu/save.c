/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the facts: domains, vCPUs and devices into records.
 *
 * save_slice() runs ahead of the pause and writes what running guests cannot change, some of it at
 * a time; what is left for save_finish() is O(vCPUs).
 */
#include "lu_priv.h"

#include "hv/console.h"
#include "hv/domain.h"
#include "hv/fault.h"
#include "hv/hvm.h"
#include "hv/machine.h"
#include "hv/modules.h"
#include "hv/percpu.h"
#include "hv/recorder.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "hv/time.h"
#include "hw/x86.h"

#define EXTENTS_PER_RECORD 4096U
#define EXTENTS_PER_SLICE 512U

/* Of what is written ahead of the pause. */
static struct {
    uint64_t generation;   /* what it is of */
    struct domain *domain; /* the next one, */
    size_t extent;         /* ... from this extent on */
} ahead;

static void save_host(struct stream_writer *w)
{
    struct lu_rec_host rec = {.tsc_khz = tsc_khz};

    str_copy(rec.version, sizeof(rec.version), lu_version);
    str_copy(rec.build_id, sizeof(rec.build_id), lu_build_id());
    stream_record(w, LU_REC_HOST, &rec, sizeof(rec), NULL, 0);
}

static void save_modules(struct stream_writer *w)
{
    for (struct image_module *m = image_modules; m != NULL; m = m->next) {
        struct lu_rec_module rec = {.start_pa = m->start, .bytes = m->bytes};

        rec.cmdline_length = (uint32_t)strlen(m->cmdline);
        stream_record(w, LU_REC_MODULE, &rec, sizeof(rec), m->cmdline, rec.cmdline_length);
    }
}

static void save_domain(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_domain rec = {
        .id = d->id,
        .flags = d->control ? LU_DOMAIN_CONTROL : 0,
        .vcpus = d->nr_vcpus,
        .memory_bytes = d->memory_bytes,
        .extents = d->extents.nr,
    };

    str_copy(rec.name, sizeof(rec.name), d->name);
    stream_record(w, LU_REC_DOMAIN, &rec, sizeof(rec), NULL, 0);
}

/* The record of the next extents is begun. */
static void begin_extents(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_extents rec = {.domain = d->id};
    size_t n = MIN(d->extents.nr - ahead.extent, EXTENTS_PER_RECORD);

    stream_record_begin(w, LU_REC_EXTENTS, (uint32_t)(sizeof(rec) + n * sizeof(struct lu_extent)));
    stream_append(w, &rec, sizeof(rec));
}

/* Some of those that the record has room for. */
static void save_extents(struct stream_writer *w, const struct domain *d)
{
    size_t n = MIN(w->record_left / sizeof(struct lu_extent), EXTENTS_PER_SLICE);

    for (; n > 0; n--) {
        const struct extent *e = &d->extents.items[ahead.extent++];
        struct lu_extent out = {e->gfn.v, e->mfn.v, e->order, e->flags};

        stream_append(w, &out, sizeof(out));
    }
    if (w->record_left == 0) {
        stream_record_end(w);
    }
}

void save_begin(struct stream_writer *w, uint32_t version)
{
    ahead.generation = domain_generation;
    ahead.domain = domain_list;
    ahead.extent = 0;
    stream_begin(w, version);
    save_host(w);
    save_modules(w);
}

bool save_slice(struct stream_writer *w)
{
    const struct domain *d = ahead.domain;

    if (d == NULL || w->error != 0) {
        return false;
    }
    if (ahead.extent == 0) {
        save_domain(w, d);
    }
    if (w->record_left == 0 && ahead.extent < d->extents.nr) {
        begin_extents(w, d);
    }
    if (w->record_left != 0) {
        save_extents(w, d);
    }
    if (ahead.extent == d->extents.nr) {
        ahead.domain = d->next;
        ahead.extent = 0;
    }
    return true;
}

bool save_outdated(void)
{
    return ahead.generation != domain_generation;
}

static void save_host_state(struct stream_writer *w)
{
    struct lu_rec_host_state rec = {
        .updates = lu.updates,
        .refused = lu.refused,
        .attempts = lu.attempts,
        .flags = machine_shutdown_requested() ? LU_HOST_SHUTDOWN : 0,
    };

    stream_record(w, LU_REC_HOST_STATE, &rec, sizeof(rec), NULL, 0);
}

/* As many as the next image finds: this one, and those that will be parked. */
static void save_cpus(struct stream_writer *w)
{
    struct lu_rec_cpus rec = {
        .cpus = nr_cpus,
        .flags = hvm != NULL ? LU_CPUS_VIRTUALIZED : 0,
        .features = features_in_use(),
    };

    stream_record(w, LU_REC_CPUS, &rec, sizeof(rec), NULL, 0);
}

static void save_domain_state(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_domain_state rec = {.domain = d->id};

    switch (d->state) {
    case DOMAIN_RUNNING:
        rec.state = LU_DOMAIN_RUNNING;
        break;
    case DOMAIN_NEW:
        rec.state = LU_DOMAIN_NEW;
        break;
    case DOMAIN_PAUSED:
        rec.state = LU_DOMAIN_PAUSED;
        break;
    case DOMAIN_EXITED:
        rec.state = LU_DOMAIN_EXITED;
        rec.exit_code = d->exit_code;
        break;
    default:
        rec.state = LU_DOMAIN_STOPPED;
        break;
    }
    stream_record(w, LU_REC_DOMAIN_STATE, &rec, sizeof(rec), NULL, 0);
}

/* The runs are as the guests have left them. */
static void save_fresh(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_fresh rec = {.domain = d->id};
    size_t nr = d->fresh.nr;

    if (nr == 0) {
        return;
    }
    stream_record_begin(w, LU_REC_FRESH,
                        (uint32_t)(sizeof(rec) + nr * sizeof(struct lu_fresh_run)));
    stream_append(w, &rec, sizeof(rec));
    for (size_t i = 0; i < d->fresh.nr_leaves; i++) {
        const struct fresh_leaf *leaf = d->fresh.leaves[i];

        for (size_t k = 0; k < leaf->nr; k++) {
            const struct fresh_run *r = &leaf->runs[k];
            struct lu_fresh_run out = {r->start, r->end - r->start};

            stream_append(w, &out, sizeof(out));
        }
    }
    stream_record_end(w);
}

static void save_vuart(struct stream_writer *w, const struct domain *d)
{
    const struct vuart *u = &d->uart;
    struct lu_rec_vuart rec = {
        .domain = d->id,
        .ier = u->ier,
        .lcr = u->lcr,
        .mcr = u->mcr,
        .scr = u->scr,
        .fcr = u->fcr,
        .lsr_errors = u->lsr_errors,
        .divisor = u->divisor,
        .rx_count = u->rx_count,
        /* Who waits for room looks again under the next image, and waits there if it must. */
        .flags = u->tx_event || u->tx_blocked ? LU_VUART_TX_EVENT : 0,
        .tx_length = u->line_length,
    };

    memcpy(rec.rx, u->rx, u->rx_count);
    stream_record(w, LU_REC_VUART, &rec, sizeof(rec), u->line, u->line_length);
}

static void save_vcpu(struct stream_writer *w, struct vcpu *v)
{
    struct lu_rec_msrs msrs = {.domain = v->domain->id, .vcpu = (uint16_t)v->id};
    struct lu_rec_xsave xsave = {.domain = v->domain->id, .vcpu = (uint16_t)v->id};
    struct lu_msr list[LU_VCPU_MSRS_MAX];
    struct lu_rec_vcpu rec;
    struct vcpu_state state;

    vcpu_get_state(v, &state);
    vcpu_to_record(v, &state, &rec);
    rec.domain = v->domain->id;
    stream_record(w, LU_REC_VCPU, &rec, sizeof(rec), NULL, 0);
    msrs.count = (uint32_t)msrs_to_record(&state, list);
    stream_record(w, LU_REC_MSRS, &msrs, sizeof(msrs), list, msrs.count * sizeof(list[0]));
    if (v->ctx.xsave != NULL) {
        xsave.bytes = host_xsave_size();
        xsave.features = host_guest_xcr0();
        stream_record(w, LU_REC_XSAVE, &xsave, sizeof(xsave), v->ctx.xsave, xsave.bytes);
    }
}

static void save_lapic(struct stream_writer *w, const struct vcpu *v)
{
    struct lu_rec_lapic rec;

    lapic_to_record(&v->apic, &rec);
    rec.domain = v->domain->id;
    rec.vcpu = (uint16_t)v->id;
    stream_record(w, LU_REC_LAPIC, &rec, sizeof(rec), NULL, 0);
}

static void save_ioapic(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_ioapic rec;

    ioapic_to_record(&d->ioapic, &rec);
    rec.domain = d->id;
    stream_record(w, LU_REC_IOAPIC, &rec, sizeof(rec), NULL, 0);
}

static void save_clock(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_clock rec = {.domain = d->id,
                               .wall_nsec = d->clock.wall_nsec,
                               .wall_sec = d->clock.wall_sec,
                               .base_tsc = d->clock.base_tsc,
                               .wall_msr = d->clock.wall_msr};

    stream_record(w, LU_REC_CLOCK, &rec, sizeof(rec), NULL, 0);
}

static void save_vcpu_clock(struct stream_writer *w, const struct vcpu *v)
{
    struct lu_rec_vcpu_clock rec = {.domain = v->domain->id,
                                    .vcpu = (uint16_t)v->id,
                                    .system_time_msr = v->clock.system_time_msr};

    stream_record(w, LU_REC_VCPU_CLOCK, &rec, sizeof(rec), NULL, 0);
}

static void save_output(struct stream_writer *w, const struct domain *d)
{
    struct lu_rec_output rec = {
        .domain = d->id,
        .shown = (uint16_t)d->uart.line_shown,
        .total = d->output.total,
    };
    struct output_piece pieces[2];
    uint64_t from = 0;

    rec.length = (uint32_t)output_get(&d->output, &from, OUTPUT_BYTES, pieces);
    stream_record_begin(w, LU_REC_OUTPUT, (uint32_t)sizeof(rec) + rec.length);
    stream_append(w, &rec, sizeof(rec));
    stream_append(w, pieces[0].bytes, pieces[0].len);
    stream_append(w, pieces[1].bytes, pieces[1].len);
    stream_record_end(w);
}

static void save_edit(struct stream_writer *w)
{
    const char *text;
    bool escape;
    struct lu_rec_edit rec = {.length = (uint32_t)console_edit(&text, &escape)};

    rec.flags = escape ? LU_EDIT_ESCAPE : 0;
    if (rec.length != 0 || rec.flags != 0) {
        stream_record(w, LU_REC_EDIT, &rec, sizeof(rec), text, rec.length);
    }
}

/* INIT and SIPI have been taken by now. */
static void save_signals(struct stream_writer *w, const struct vcpu *v)
{
    struct lu_rec_signals rec = {.domain = v->domain->id,
                                 .vcpu = (uint16_t)v->id,
                                 .signals = (v->signals & VCPU_SIGNAL_NMI) ? LU_SIGNAL_NMI : 0};

    if (rec.signals != 0) {
        stream_record(w, LU_REC_SIGNALS, &rec, sizeof(rec), NULL, 0);
    }
}

static void save_console(struct stream_writer *w)
{
    struct lu_rec_console rec = {.focus = console_focus()};
    struct console_piece pieces[2];

    console_pending(pieces);
    rec.length = (uint32_t)(pieces[0].len + pieces[1].len);
    stream_record_begin(w, LU_REC_CONSOLE, (uint32_t)sizeof(rec) + rec.length);
    stream_append(w, &rec, sizeof(rec));
    stream_append(w, pieces[0].bytes, pieces[0].len);
    stream_append(w, pieces[1].bytes, pieces[1].len);
    stream_record_end(w);
}

/* The memory of the flight recorder. */
static void save_recorder(struct stream_writer *w)
{
    struct lu_rec_recorder rec = {.pa = lu.recorder.pa, .bytes = lu.recorder.bytes};

    if (recorder_attached()) {
        stream_record(w, LU_REC_RECORDER, &rec, sizeof(rec), NULL, 0);
    }
}

int save_finish(struct stream_writer *w)
{
    FAULT_POINT("old.save.host");
    save_host_state(w);
    if (w->version >= 2) {
        save_cpus(w);
        save_recorder(w);
        save_stops(w);
    }
    for_each_domain(d) {
        FAULT_POINT("old.save.domain");
        save_domain_state(w, d);
        if (w->version >= 2) {
            save_digest(w, d);
            save_fresh(w, d);
        }
        save_vuart(w, d);
        save_output(w, d);
        save_ioapic(w, d);
        save_clock(w, d);
        for_each_vcpu(d, v) {
            FAULT_POINT("old.save.vcpu");
            save_vcpu(w, v);
            save_lapic(w, v);
            save_vcpu_clock(w, v);
            save_signals(w, v);
        }
    }
    FAULT_POINT("old.save.console");
    save_console(w);
    save_edit(w);
    return stream_end(w);
}
