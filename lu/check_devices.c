/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking the facts: records of devices, clocks and consoles.
 *
 * Host test: tests/host/test_restore_check.c, tests/host/fuzz/fuzz_restore.c
 */
#include "check_priv.h"

#include "hv/console.h"
#include "hv/domain.h"
#include "hv/string.h"

#define LSR_ERRORS 0x1eU

int check_vuart(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_vuart rec;
    struct seen_domain *d;

    if (item->length < sizeof(rec)) {
        return check_bad(c, "VUART: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || d->vuart || rec.rx_count > VUART_FIFO || (rec.lsr_errors & ~LSR_ERRORS) ||
        (rec.flags & ~LU_VUART_TX_EVENT) || rec.tx_length > VUART_LINE ||
        rec.tx_length != item->length - sizeof(rec)) {
        return check_bad(c, "VUART: impossible values");
    }
    d->vuart = true;
    d->line_length = rec.tx_length;
    return 0;
}

int check_output(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_output rec;
    struct seen_domain *d;

    if (item->length < sizeof(rec)) {
        return check_bad(c, "OUTPUT: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || d->output || !d->vuart || rec.shown > d->line_length ||
        rec.length > OUTPUT_BYTES || rec.length > rec.total ||
        rec.length != item->length - sizeof(rec)) {
        return check_bad(c, "OUTPUT: impossible values");
    }
    d->output = true;
    return 0;
}

int check_edit(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_edit rec;

    if (c->edit || item->length < sizeof(rec)) {
        return check_bad(c, "EDIT: doubled or too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if ((rec.flags & ~LU_EDIT_ESCAPE) || rec.length > CONSOLE_EDIT_MAX ||
        rec.length != item->length - sizeof(rec)) {
        return check_bad(c, "EDIT: impossible values");
    }
    c->edit = true;
    return 0;
}

/* Registers of devices may hold anything: the models take any value that fits. */
int check_lapic(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_lapic rec;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "LAPIC: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (!check_last_vcpu(c, rec.domain, rec.vcpu) || c->lapic || rec.id != rec.vcpu ||
        rec.tsc_per_tick == 0 || rec.reserved != 0) {
        return check_bad(c, "LAPIC: wrong vCPU or impossible values");
    }
    c->lapic = true;
    return 0;
}

int check_ioapic(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_ioapic rec;
    struct seen_domain *d;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "IOAPIC: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || d->ioapic || rec.reserved[0] != 0 || rec.reserved[1] != 0 ||
        rec.reserved[2] != 0 || rec.reserved2 != 0) {
        return check_bad(c, "IOAPIC: unknown domain, doubled or reserved fields");
    }
    d->ioapic = true;
    return 0;
}

static struct pvclock clock_from_record(const struct lu_rec_clock *rec)
{
    return (struct pvclock){.base_tsc = rec->base_tsc,
                            .wall_sec = rec->wall_sec,
                            .wall_nsec = rec->wall_nsec,
                            .wall_msr = rec->wall_msr};
}

int check_clock(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_clock rec;
    struct seen_domain *d;
    struct pvclock clock;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "CLOCK: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    clock = clock_from_record(&rec);
    if (d == NULL || d->clock || rec.reserved != 0 || !pvclock_valid(&clock)) {
        return check_bad(c, "CLOCK: unknown domain, doubled or impossible values");
    }
    d->clock = true;
    return 0;
}

int check_vcpu_clock(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_vcpu_clock rec;
    struct pvclock_vcpu clock;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "VCPU_CLOCK: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    clock = (struct pvclock_vcpu){rec.system_time_msr};
    if (!check_last_vcpu(c, rec.domain, rec.vcpu) || c->clock || rec.reserved != 0 ||
        !pvclock_vcpu_valid(&clock)) {
        return check_bad(c, "VCPU_CLOCK: wrong vCPU or impossible values");
    }
    c->clock = true;
    return 0;
}

int check_signals(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_signals rec;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "SIGNALS: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (!check_last_vcpu(c, rec.domain, rec.vcpu) || c->signals || (rec.signals & ~LU_SIGNAL_NMI)) {
        return check_bad(c, "SIGNALS: wrong vCPU, doubled or unknown");
    }
    c->signals = true;
    return 0;
}

int check_console(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_console rec;

    if (c->console || item->length < sizeof(rec)) {
        return check_bad(c, "CONSOLE: doubled or too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.reserved != 0 || rec.length != item->length - sizeof(rec)) {
        return check_bad(c, "CONSOLE: wrong length");
    }
    c->console = true;
    return 0;
}
