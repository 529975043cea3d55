/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking the facts: the whole stream, before anything is made of it.
 *
 * Trusts nothing: structure sizes, reserved fields, references between records, counts, ranges. On
 * the new side it is also the one pass that gives every preserved frame to its owner: a frame given
 * twice is found by that, before any domain exists. It runs on the old side over its own stream
 * too.
 *
 * Host test: tests/host/test_restore_check.c, tests/host/fuzz/fuzz_restore.c
 */
#include "check_priv.h"

#include "hv/context.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/string.h"

#define XSAVE_HEADER 512U
#define XSAVE_HEADER_END 576U

int check_bad(struct checker *c, const char *why)
{
    *c->why = why;
    return -EBADMSG;
}

static bool terminated(const char *s, size_t size)
{
    return strnlen(s, size) < size;
}

struct seen_domain *check_find(struct checker *c, uint16_t id)
{
    for (size_t i = 0; i < c->nr; i++) {
        if (c->domains[i].id == id) {
            return &c->domains[i];
        }
    }
    return NULL;
}

/* What a keeper has said. */
static int taken(struct checker *c, int rc, const char *why)
{
    if (rc == -ENOMEM) {
        *c->why = "out of memory for the frametable";
        return rc;
    }
    return rc != 0 ? check_bad(c, why) : 0;
}

int check_take(struct checker *c, mfn_t start, mfn_t end, enum frame_state state, uint16_t owner,
               const char *why)
{
    int rc = c->keeper->take(start, end, state, owner);

    c->taken += rc == 0;
    return taken(c, rc, why);
}

static int check_host(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_host rec;

    if (c->host || item->length != sizeof(rec)) {
        return check_bad(c, "HOST: doubled or of a wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.tsc_khz == 0 || !terminated(rec.version, sizeof(rec.version)) ||
        !terminated(rec.build_id, sizeof(rec.build_id))) {
        return check_bad(c, "HOST: impossible values");
    }
    c->host = true;
    return 0;
}

static int check_host_state(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_host_state rec;

    if (c->host_state || item->length != sizeof(rec)) {
        return check_bad(c, "HOST_STATE: doubled or of a wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.flags & ~(uint64_t)LU_HOST_SHUTDOWN) {
        return check_bad(c, "HOST_STATE: unknown flags");
    }
    c->host_state = true;
    return 0;
}

static int check_module(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_module rec;
    uint64_t end;

    if (item->length < sizeof(rec)) {
        return check_bad(c, "MODULE: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.reserved != 0 || rec.cmdline_length != item->length - sizeof(rec) || rec.bytes == 0 ||
        __builtin_add_overflow(rec.start_pa, rec.bytes, &end)) {
        return check_bad(c, "MODULE: impossible values");
    }
    if (strnlen((const char *)item->data + sizeof(rec), rec.cmdline_length) != rec.cmdline_length) {
        return check_bad(c, "MODULE: a command line of several strings");
    }
    end = align_up(end, PAGE_SIZE) >> PAGE_SHIFT;
    return check_take(c, pa_to_mfn(rec.start_pa), mfn_from(end), FRAME_MODULE, OWNER_NONE,
                      "MODULE: not in usable memory, or that is taken");
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
        return check_bad(c, "DOMAIN: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.id == 0 || rec.id > DOMAIN_MAX_ID || (rec.flags & ~LU_DOMAIN_CONTROL) ||
        rec.name[0] == '\0' || !terminated(rec.name, sizeof(rec.name)) ||
        !is_aligned(rec.memory_bytes, PAGE_SIZE)) {
        return check_bad(c, "DOMAIN: impossible values");
    }
    for (size_t i = 0; i < c->nr; i++) {
        if (c->domains[i].id == rec.id || strcmp(c->domains[i].name, rec.name) == 0) {
            return check_bad(c, "DOMAIN: id or name twice");
        }
    }
    return add_domain(c, &rec);
}

/* All of them, by what they say of themselves and of each other. */
static bool extents_good(struct seen_domain *d, const struct lu_extent *e, size_t n)
{
    uint64_t next_gfn = d->next_gfn, frames = 0;

    for (const struct lu_extent *end = e + n; e < end; e++) {
        uint64_t size = BIT(e->order & 63);

        if (e->order > MAX_ORDER || e->flags != 0 || !is_aligned(e->gfn | e->mfn, size) ||
            e->gfn < next_gfn || e->gfn >= FRAME_LIMIT || e->mfn >= FRAME_LIMIT) {
            return false;
        }
        next_gfn = e->gfn + size;
        frames += size;
    }
    d->next_gfn = next_gfn;
    d->frames += frames;
    return true;
}

static int check_extents(struct checker *c, const struct stream_item *item)
{
    const struct lu_extent *e =
        (const struct lu_extent *)(item->data + sizeof(struct lu_rec_extents));
    struct lu_rec_extents rec;
    struct seen_domain *d;
    size_t n;
    int rc;

    if (item->length < sizeof(rec) || (item->length - sizeof(rec)) % sizeof(*e) != 0) {
        return check_bad(c, "EXTENTS: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || rec.reserved[0] != 0 || rec.reserved[1] != 0 || rec.reserved[2] != 0) {
        return check_bad(c, "EXTENTS: unknown domain or reserved fields");
    }
    n = (item->length - sizeof(rec)) / sizeof(*e);
    if (!extents_good(d, e, n)) {
        return check_bad(c, "EXTENTS: misaligned, unsorted or of an unknown kind");
    }
    d->extents += n;
    c->taken += c->keeper->take_extents(e, n, d->id, &rc);
    return taken(c, rc, "EXTENTS: frames that cannot be the domain's, or are taken");
}

static int check_domain_state(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_domain_state rec;
    struct seen_domain *d;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "DOMAIN_STATE: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || d->state || rec.reserved != 0 || rec.reserved2 != 0 ||
        rec.state < LU_DOMAIN_RUNNING || rec.state > LU_DOMAIN_NEW ||
        (rec.state != LU_DOMAIN_EXITED && rec.exit_code != 0)) {
        return check_bad(c, "DOMAIN_STATE: impossible values");
    }
    d->state = true;
    return 0;
}

static int check_vcpu(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_vcpu rec;
    struct seen_domain *d;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "VCPU: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    /* What becomes of a vCPU depends on its domain's state. */
    if (d == NULL || !d->state || rec.vcpu != d->vcpus || rec.activity > LU_VCPU_WAIT_SIPI ||
        (rec.activity != LU_VCPU_RUNNING && rec.wake_tsc != 0)) {
        return check_bad(c, "VCPU: unknown domain, out of order or unknown activity");
    }
    if (rec.gdtr.reserved != 0 || rec.idtr.reserved != 0) {
        return check_bad(c, "VCPU: reserved fields");
    }
    for (unsigned int i = 0; i < ARRAY_SIZE(rec.segments); i++) {
        if (rec.segments[i].reserved != 0 || rec.segments[i].reserved2 != 0) {
            return check_bad(c, "VCPU: reserved fields");
        }
    }
    vcpu_from_record(&rec, &c->state);
    d->vcpus++;
    c->vcpu_open = true;
    c->vcpu_domain = rec.domain;
    c->vcpu = rec.vcpu;
    c->msrs = false;
    c->xsave = false;
    c->lapic = false;
    c->clock = false;
    c->signals = false;
    return 0;
}

bool check_last_vcpu(const struct checker *c, uint16_t domain, uint16_t vcpu)
{
    return c->vcpu_open && domain == c->vcpu_domain && vcpu == c->vcpu;
}

/* Nothing more of the last vCPU can follow. */
static int close_vcpu(struct checker *c)
{
    if (c->vcpu_open && !c->msrs) {
        return check_bad(c, "VCPU: its MSRS are missing");
    }
    if (c->vcpu_open && vcpu_state_check(&c->state) != 0) {
        return check_bad(c, "VCPU, MSRS: registers that no guest can have here");
    }
    c->vcpu_open = false;
    return 0;
}

static int check_msrs(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_msrs rec;

    if (item->length < sizeof(rec)) {
        return check_bad(c, "MSRS: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (!check_last_vcpu(c, rec.domain, rec.vcpu) || c->msrs ||
        (item->length - sizeof(rec)) / sizeof(struct lu_msr) != rec.count ||
        (item->length - sizeof(rec)) % sizeof(struct lu_msr) != 0) {
        return check_bad(c, "MSRS: wrong vCPU or count");
    }
    for (uint32_t i = 0; i < rec.count; i++) {
        struct lu_msr msr;

        memcpy(&msr, item->data + sizeof(rec) + i * sizeof(msr), sizeof(msr));
        if (msr_from_record(&msr, &c->state) != 0) {
            return check_bad(c, "MSRS: an MSR that this image does not know");
        }
    }
    c->msrs = true;
    return 0;
}

/* SDM volume 1, "Layout of the XSAVE Area": standard format, components that the record names. */
static bool xsave_image_good(const uint8_t *image, uint64_t features)
{
    uint64_t components;

    memcpy(&components, image + XSAVE_HEADER, sizeof(components));
    for (size_t i = XSAVE_HEADER + sizeof(components); i < XSAVE_HEADER_END; i++) {
        if (image[i] != 0) {
            return false;
        }
    }
    return !(components & ~features);
}

static int check_xsave(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_xsave rec;

    if (item->length < sizeof(rec)) {
        return check_bad(c, "XSAVE: too short");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (!check_last_vcpu(c, rec.domain, rec.vcpu) || c->xsave ||
        rec.bytes != item->length - sizeof(rec) || rec.bytes < XSAVE_HEADER_END ||
        (rec.features & ~host_guest_xcr0()) || rec.bytes > host_xsave_size()) {
        return check_bad(c, "XSAVE: wrong vCPU or size, or features that this CPU has not");
    }
    if (!xsave_image_good(item->data + sizeof(rec), rec.features)) {
        return check_bad(c, "XSAVE: not an image in standard format");
    }
    if (context_check_xsave(item->data + sizeof(rec), rec.bytes) != 0) {
        return check_bad(c, "XSAVE: an image that this CPU does not load");
    }
    c->xsave = true;
    return 0;
}

static bool of_vcpu(uint32_t type)
{
    return type == LU_REC_MSRS || type == LU_REC_XSAVE || type == LU_REC_LAPIC ||
           type == LU_REC_VCPU_CLOCK || type == LU_REC_SIGNALS;
}

/* Stream version that brought a type. */
static uint32_t since(uint32_t type)
{
    return type == LU_REC_CPUS || type == LU_REC_RECORDER || type == LU_REC_DIGEST ||
                   type == LU_REC_STOPS || type == LU_REC_FRESH
               ? 2
               : 1;
}

bool restore_knows(const struct stream_reader *r, uint32_t type)
{
    return r->version >= since(type);
}

static int check_unknown(struct checker *c, uint32_t type)
{
    if (type & LU_REC_OPTIONAL) {
        return 0;
    }
    *c->why = "a mandatory record of an unknown type";
    return -EPROTO;
}

static int check_item(struct checker *c, const struct stream_item *item)
{
    if (!c->host && item->type != LU_REC_HOST) {
        return check_bad(c, "HOST is not the first record");
    }
    if (!of_vcpu(item->type) && !(item->type & LU_REC_OPTIONAL) && close_vcpu(c) != 0) {
        return -EBADMSG;
    }
    if (c->version < since(item->type)) {
        return check_unknown(c, item->type);
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
    case LU_REC_LAPIC:
        return check_lapic(c, item);
    case LU_REC_IOAPIC:
        return check_ioapic(c, item);
    case LU_REC_CLOCK:
        return check_clock(c, item);
    case LU_REC_VCPU_CLOCK:
        return check_vcpu_clock(c, item);
    case LU_REC_SIGNALS:
        return check_signals(c, item);
    case LU_REC_OUTPUT:
        return check_output(c, item);
    case LU_REC_EDIT:
        return check_edit(c, item);
    case LU_REC_CONSOLE:
        return check_console(c, item);
    case LU_REC_CPUS:
        return check_cpus(c, item);
    case LU_REC_RECORDER:
        return check_recorder(c, item);
    case LU_REC_DIGEST:
        return check_digest(c, item);
    case LU_REC_STOPS:
        return check_stops(c, item);
    case LU_REC_FRESH:
        return check_fresh(c, item);
    default:
        return check_unknown(c, item->type);
    }
}

int checker_end(struct checker *c)
{
    if (!c->host || !c->host_state) {
        return check_bad(c, "HOST or HOST_STATE is missing");
    }
    if (c->version >= since(LU_REC_CPUS) && !c->cpus) {
        return check_bad(c, "CPUS is missing");
    }
    if (close_vcpu(c) != 0) {
        return -EBADMSG;
    }
    for (size_t i = 0; i < c->nr; i++) {
        struct seen_domain *d = &c->domains[i];

        if (!d->state || !d->vuart || d->vcpus != d->vcpus_expected ||
            d->extents != d->extents_expected || d->frames != d->frames_expected) {
            return check_bad(c, "a domain's records are missing or too many");
        }
    }
    return 0;
}

/* Drops the first `taken` ranges that the stream names; the records that hold them are good. */
static void drop_frames(struct stream_reader *r, const struct frame_keeper *keeper, uint64_t taken)
{
    struct stream_item item;

    stream_rewind(r);
    while (taken > 0 && stream_next(r, &item)) {
        if (item.type == LU_REC_MODULE) {
            const struct lu_rec_module *rec = (const void *)item.data;

            keeper->drop(pa_to_mfn(rec->start_pa),
                         pa_to_mfn(align_up(rec->start_pa + rec->bytes, PAGE_SIZE)));
            taken--;
        } else if (item.type == LU_REC_RECORDER && restore_knows(r, item.type)) {
            const struct lu_rec_recorder *rec = (const void *)item.data;

            keeper->drop(pa_to_mfn(rec->pa), pa_to_mfn(rec->pa + rec->bytes));
            taken--;
        } else if (item.type == LU_REC_EXTENTS) {
            const struct lu_extent *e = (const void *)(item.data + sizeof(struct lu_rec_extents));
            size_t n = (item.length - sizeof(struct lu_rec_extents)) / sizeof(*e);

            for (; n > 0 && taken > 0; n--, taken--, e++) {
                keeper->drop(mfn_from(e->mfn), mfn_from(e->mfn + BIT(e->order)));
            }
        }
    }
}

void checker_begin(struct checker *c, const struct frame_keeper *keeper, const char **why)
{
    *c = (struct checker){.keeper = keeper, .why = why};
}

int checker_records(struct checker *c, struct stream_reader *r)
{
    struct stream_item item;
    int rc = 0;

    c->version = r->version;
    while (rc == 0 && stream_next(r, &item)) {
        rc = check_item(c, &item);
    }
    return rc;
}

void checker_forget(struct checker *c)
{
    kfree(c->domains);
    c->domains = NULL;
}

int restore_check(struct stream_reader *r, const struct frame_keeper *keeper, const char **why)
{
    struct checker c;
    int rc;

    checker_begin(&c, keeper, why);
    stream_rewind(r);
    rc = checker_records(&c, r);
    if (rc == 0) {
        rc = checker_end(&c);
    }
    if (rc != 0 && keeper->drop != NULL) {
        drop_frames(r, keeper, c.taken);
    }
    checker_forget(&c);
    stream_rewind(r);
    return rc;
}
