/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the facts: first everything is checked, then domains are made from it.
 *
 * restore_check() trusts nothing: structure sizes, reserved fields, references between records,
 * counts, ranges. It runs on the old side over its own stream too. restore_apply() relies on it.
 */
#include "lu_priv.h"

#include "hv/console.h"
#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/machine.h"
#include "hv/modules.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hv/time.h"

/* What the check remembers of a domain. */
struct seen_domain {
    uint16_t id;
    bool state, vuart;
    uint32_t vcpus_expected, vcpus;
    uint64_t extents_expected, extents;
    uint64_t frames_expected, frames;
    uint64_t next_gfn; /* extents are sorted */
    bool vcpu_open;    /* MSRS and XSAVE may follow */
    char name[32];
};

struct checker {
    struct seen_domain *domains;
    size_t nr, capacity;
    bool host, host_state, console;
    frames_ok_fn frames_ok;
    const char **why;
};

static int bad(struct checker *c, const char *why)
{
    *c->why = why;
    return -EBADMSG;
}

static bool terminated(const char *s, size_t size)
{
    return strnlen(s, size) < size;
}

static struct seen_domain *find(struct checker *c, uint16_t id)
{
    for (size_t i = 0; i < c->nr; i++) {
        if (c->domains[i].id == id) {
            return &c->domains[i];
        }
    }
    return NULL;
}

static int check_host(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_host rec;

    if (c->host || item->length != sizeof(rec)) {
        return bad(c, "HOST: doubled or of a wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.tsc_khz == 0 || !terminated(rec.version, sizeof(rec.version)) ||
        !terminated(rec.build_id, sizeof(rec.build_id))) {
        return bad(c, "HOST: impossible values");
    }
    c->host = true;
    return 0;
}

static int check_host_state(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_host_state rec;

    if (c->host_state || item->length != sizeof(rec)) {
        return bad(c, "HOST_STATE: doubled or of a wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.flags & ~(uint64_t)LU_HOST_SHUTDOWN) {
        return bad(c, "HOST_STATE: unknown flags");
    }
    c->host_state = true;
    return 0;
}

static int check_module(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_module rec;
    uint64_t end;

    if (item->length < sizeof(rec)) {
        return bad(c, "MODULE: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.reserved != 0 || rec.cmdline_length != item->length - sizeof(rec) || rec.bytes == 0 ||
        __builtin_add_overflow(rec.start_pa, rec.bytes, &end)) {
        return bad(c, "MODULE: impossible values");
    }
    end = align_up(end, PAGE_SIZE) >> PAGE_SHIFT;
    if (end <= rec.start_pa >> PAGE_SHIFT ||
        !c->frames_ok(pa_to_mfn(rec.start_pa), end - (rec.start_pa >> PAGE_SHIFT), OWNER_NONE)) {
        return bad(c, "MODULE: not in usable memory");
    }
    return 0;
}

static int add_domain(struct checker *c, const struct lu_rec_domain *rec)
{
    struct seen_domain *d;

    if (c->nr == c->capacity) {
        size_t capacity = c->capacity * 2 + 8;
        struct seen_domain *more = kzalloc(capacity * sizeof(*more));

        if (more == NULL) {
            *c->why = "out of memory";
            return -ENOMEM;
        }
        if (c->nr != 0) {
            memcpy(more, c->domains, c->nr * sizeof(*more));
        }
        kfree(c->domains);
        c->domains = more;
        c->capacity = capacity;
    }
    d = &c->domains[c->nr++];
    *d = (struct seen_domain){
        .id = rec->id,
        .vcpus_expected = rec->vcpus,
        .extents_expected = rec->extents,
        .frames_expected = rec->memory_bytes >> PAGE_SHIFT,
    };
    memcpy(d->name, rec->name, sizeof(d->name));
    return 0;
}

static int check_domain(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_domain rec;

    if (item->length != sizeof(rec)) {
        return bad(c, "DOMAIN: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.id == 0 || rec.id > DOMAIN_MAX_ID || (rec.flags & ~LU_DOMAIN_CONTROL) ||
        rec.name[0] == '\0' || !terminated(rec.name, sizeof(rec.name)) ||
        !is_aligned(rec.memory_bytes, PAGE_SIZE)) {
        return bad(c, "DOMAIN: impossible values");
    }
    for (size_t i = 0; i < c->nr; i++) {
        if (c->domains[i].id == rec.id || strcmp(c->domains[i].name, rec.name) == 0) {
            return bad(c, "DOMAIN: id or name twice");
        }
    }
    return add_domain(c, &rec);
}

static int check_extents(struct checker *c, const struct stream_item *item)
{
    const struct lu_extent *e = (const struct lu_extent *)(item->data +
                                                            sizeof(struct lu_rec_extents));
    struct lu_rec_extents rec;
    struct seen_domain *d;
    size_t n;

    if (item->length < sizeof(rec) || (item->length - sizeof(rec)) % sizeof(*e) != 0) {
        return bad(c, "EXTENTS: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = find(c, rec.domain);
    if (d == NULL || rec.reserved[0] != 0 || rec.reserved[1] != 0 || rec.reserved[2] != 0) {
        return bad(c, "EXTENTS: unknown domain or reserved fields");
    }
    n = (item->length - sizeof(rec)) / sizeof(*e);
    for (size_t i = 0; i < n; i++, e++) {
        if (e->order > MAX_ORDER || e->flags != 0 || !is_aligned(e->gfn, BIT(e->order)) ||
            !is_aligned(e->mfn, BIT(e->order)) || e->gfn < d->next_gfn ||
            e->gfn > UINT64_MAX - BIT(e->order)) {
            return bad(c, "EXTENTS: misaligned, unsorted or of an unknown kind");
        }
        if (!c->frames_ok(mfn_from(e->mfn), BIT(e->order), d->id)) {
            return bad(c, "EXTENTS: frames that cannot be the domain's");
        }
        d->next_gfn = e->gfn + BIT(e->order);
        d->frames += BIT(e->order);
    }
    d->extents += n;
    return 0;
}

static int check_domain_state(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_domain_state rec;
    struct seen_domain *d;

    if (item->length != sizeof(rec)) {
        return bad(c, "DOMAIN_STATE: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = find(c, rec.domain);
    if (d == NULL || d->state || rec.reserved != 0 || rec.reserved2 != 0 ||
        rec.state < LU_DOMAIN_RUNNING || rec.state > LU_DOMAIN_STOPPED) {
        return bad(c, "DOMAIN_STATE: impossible values");
    }
    d->state = true;
    return 0;
}

static int check_vuart(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_vuart rec;
    struct seen_domain *d;

    if (item->length < sizeof(rec)) {
        return bad(c, "VUART: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = find(c, rec.domain);
    if (d == NULL || d->vuart || rec.rx_count > VUART_FIFO ||
        (rec.flags & ~LU_VUART_TX_EVENT) || rec.tx_length > VUART_LINE ||
        rec.tx_length != item->length - sizeof(rec)) {
        return bad(c, "VUART: impossible values");
    }
    d->vuart = true;
    return 0;
}

static int check_vcpu(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_vcpu rec;
    struct seen_domain *d;

    if (item->length != sizeof(rec)) {
        return bad(c, "VCPU: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = find(c, rec.domain);
    if (d == NULL || rec.vcpu != d->vcpus || rec.activity > LU_VCPU_SHUTDOWN) {
        return bad(c, "VCPU: unknown domain, out of order or unknown activity");
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(rec.segments); i++) {
        if (rec.segments[i].reserved != 0 || rec.segments[i].reserved2 != 0) {
            return bad(c, "VCPU: reserved fields");
        }
    }
    d->vcpus++;
    d->vcpu_open = true;
    return 0;
}

/* MSRS and XSAVE name the vCPU just before them. */
static bool names_last_vcpu(struct checker *c, uint16_t domain, uint16_t vcpu)
{
    struct seen_domain *d = find(c, domain);

    return d != NULL && d->vcpu_open && (uint32_t)vcpu + 1 == d->vcpus;
}

static int check_msrs(struct checker *c, const struct stream_item *item)
{
    struct vcpu_state scratch;
    struct lu_rec_msrs rec;

    if (item->length < sizeof(rec)) {
        return bad(c, "MSRS: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (!names_last_vcpu(c, rec.domain, rec.vcpu) ||
        (item->length - sizeof(rec)) / sizeof(struct lu_msr) != rec.count ||
        (item->length - sizeof(rec)) % sizeof(struct lu_msr) != 0) {
        return bad(c, "MSRS: wrong vCPU or count");
    }
    for (uint32_t i = 0; i < rec.count; i++) {
        struct lu_msr msr;

        memcpy(&msr, item->data + sizeof(rec) + i * sizeof(msr), sizeof(msr));
        if (msr_from_record(&msr, &scratch) != 0) {
            return bad(c, "MSRS: an MSR that this image does not know");
        }
    }
    return 0;
}

static int check_xsave(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_xsave rec;

    if (item->length < sizeof(rec)) {
        return bad(c, "XSAVE: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (!names_last_vcpu(c, rec.domain, rec.vcpu) || rec.bytes != item->length - sizeof(rec) ||
        (rec.features & ~host_guest_xcr0()) || rec.bytes > host_xsave_size()) {
        return bad(c, "XSAVE: wrong vCPU or size, or features that this CPU has not");
    }
    return 0;
}

static int check_console(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_console rec;

    if (c->console || item->length < sizeof(rec)) {
        return bad(c, "CONSOLE: doubled or too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.reserved != 0 || rec.length != item->length - sizeof(rec)) {
        return bad(c, "CONSOLE: wrong length");
    }
    c->console = true;
    return 0;
}

static int check_item(struct checker *c, const struct stream_item *item)
{
    if (!c->host && item->type != LU_REC_HOST) {
        return bad(c, "HOST is not the first record");
    }
    switch (item->type) {
    case LU_REC_HOST:
        return check_host(c, item);
    case LU_REC_MODULE:
        return check_module(c, item);
    case LU_REC_DOMAIN:
        return check_domain(c, item);
    case LU_REC_EXTENTS:
        return check_extents(c, item);
    case LU_REC_HOST_STATE:
        return check_host_state(c, item);
    case LU_REC_DOMAIN_STATE:
        return check_domain_state(c, item);
    case LU_REC_VUART:
        return check_vuart(c, item);
    case LU_REC_VCPU:
        return check_vcpu(c, item);
    case LU_REC_MSRS:
        return check_msrs(c, item);
    case LU_REC_XSAVE:
        return check_xsave(c, item);
    case LU_REC_CONSOLE:
        return check_console(c, item);
    default:
        if (item->type & LU_REC_OPTIONAL) {
            return 0;
        }
        *c->why = "a mandatory record of an unknown type";
        return -EPROTO;
    }
}

static int check_whole(struct checker *c)
{
    if (!c->host || !c->host_state) {
        return bad(c, "HOST or HOST_STATE is missing");
    }
    for (size_t i = 0; i < c->nr; i++) {
        struct seen_domain *d = &c->domains[i];

        if (!d->state || !d->vuart || d->vcpus != d->vcpus_expected ||
            d->extents != d->extents_expected || d->frames != d->frames_expected) {
            return bad(c, "a domain's records are missing or too many");
        }
    }
    return 0;
}

int restore_check(struct stream_reader *r, frames_ok_fn frames_ok, const char **why)
{
    struct checker c = {.frames_ok = frames_ok, .why = why};
    struct stream_item item;
    int rc = 0;

    stream_rewind(r);
    while (rc == 0 && stream_next(r, &item)) {
        rc = check_item(&c, &item);
    }
    if (rc == 0) {
        rc = check_whole(&c);
    }
    kfree(c.domains);
    stream_rewind(r);
    return rc;
}

/* ---- apply: the stream is known to be good ---- */

void restore_host(struct stream_reader *r)
{
    struct stream_item item;

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
        }
    }
    stream_rewind(r);
}

static int apply_module(const struct stream_item *item, const char **why)
{
    const struct lu_rec_module *rec = (const void *)item->data;
    mfn_t end = pa_to_mfn(align_up(rec->start_pa + rec->bytes, PAGE_SIZE));

    *why = "a module's frames are taken";
    if (frametable_claim_range(pa_to_mfn(rec->start_pa), end, FRAME_MODULE, OWNER_NONE) != 0) {
        return -EBADMSG;
    }
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

/* The one pass: ownership of every frame that a guest has. */
static int apply_extents(const struct stream_item *item, const char **why)
{
    const struct lu_rec_extents *rec = (const void *)item->data;
    const struct lu_extent *e = (const void *)(rec + 1);
    struct domain *d = domain_find(rec->domain);
    size_t n = (item->length - sizeof(*rec)) / sizeof(*e);

    for (size_t i = 0; i < n; i++, e++) {
        int rc = frametable_claim(mfn_from(e->mfn), e->order, FRAME_GUEST, d->id);

        if (rc != 0) {
            *why = "an extent's frames are taken, bad or in the region";
            return rc;
        }
        rc = extent_map_add(&d->extents, gfn_from(e->gfn), mfn_from(e->mfn), e->order, e->flags);
        if (rc != 0) {
            *why = "an extent cannot be added";
            return rc;
        }
    }
    return 0;
}

static void apply_domain_state(const struct stream_item *item)
{
    const struct lu_rec_domain_state *rec = (const void *)item->data;
    struct domain *d = domain_find(rec->domain);

    d->exit_code = rec->exit_code;
    d->state = rec->state == LU_DOMAIN_RUNNING  ? DOMAIN_RUNNING
               : rec->state == LU_DOMAIN_EXITED ? DOMAIN_EXITED
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
    memcpy(u->rx, rec->rx, rec->rx_count);
    u->line_length = rec->tx_length;
    memcpy(u->line, rec + 1, rec->tx_length);
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
    struct stream_item xsave = none;
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
        } else {
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
    v->wake_tsc = rec->wake_tsc;
    v->run_state = rec->activity == LU_VCPU_HALTED     ? VCPU_HALTED
                   : rec->activity == LU_VCPU_SHUTDOWN ? VCPU_DOWN
                   : rec->wake_tsc != 0                ? VCPU_SLEEPING
                                                       : VCPU_RUNNABLE;
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
            rc = apply_module(&item, why);
            break;
        case LU_REC_DOMAIN:
            rc = apply_domain(&item, why);
            break;
        case LU_REC_EXTENTS:
            rc = apply_extents(&item, why);
            break;
        case LU_REC_DOMAIN_STATE:
            apply_domain_state(&item);
            break;
        case LU_REC_VUART:
            apply_vuart(&item);
            break;
        case LU_REC_VCPU:
            rc = apply_vcpu(r, &item, why);
            break;
        case LU_REC_CONSOLE:
            apply_console(&item);
            break;
        default: /* HOST: restore_host(); MSRS, XSAVE: with their vCPU; optional ones */
            break;
        }
    }
    return rc;
}
