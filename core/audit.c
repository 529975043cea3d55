/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit, the owners' side: domains and modules; and the whole of it.
 *
 * Host test: tests/host/test_audit.c
 */
#include "hv/audit.h"

#include "hv/boot_alloc.h"
#include "hv/crc32c.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/hvm.h"
#include "hv/lu.h"
#include "hv/modules.h"
#include "hv/printk.h"
#include "public/lu_abi.h"

#define ULL(x) ((unsigned long long)(x))

static const char *again(enum audit_named named)
{
    return named == AUDIT_AGAIN ? ", and somebody else" : "";
}

/* ---- extents ---- */

static void check_extent(struct hc_audit *a, const struct domain *d, const struct extent *e)
{
    enum audit_named named = AUDIT_DIFFERS;

    if (e->order <= MAX_ORDER && e->mfn.v < BIT(52 - PAGE_SHIFT)) {
        named = audit_name(e->mfn, e->order, FRAME_GUEST, d->id);
    }
    if (named != AUDIT_AGREES) {
        audit_differs(a, e->mfn, "extents: domain %u gfn 0x%llx order %u%s", d->id, ULL(e->gfn.v),
                      e->order, again(named));
    }
}

/* False: nothing can be looked up in them. */
static bool check_extents(struct hc_audit *a, const struct domain *d)
{
    uint64_t bytes = d->memory_bytes + (d->growth.phase != GROWTH_NONE ? d->growth.taken : 0);
    uint64_t frames = 0, end = 0;
    bool usable = true;

    if (d->extents.nr > d->extents.capacity || (d->extents.nr != 0 && d->extents.items == NULL)) {
        audit_mismatch(a, AUDIT_NO_FRAME, "extents: domain %u has %zu, room for %zu", d->id,
                       d->extents.nr, d->extents.capacity);
        return false;
    }
    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];

        check_extent(a, d, e);
        if (e->order > MAX_ORDER) {
            usable = false;
            continue;
        }
        if (e->gfn.v < end || !is_aligned(e->gfn.v | e->mfn.v, BIT(e->order))) {
            audit_differs(a, e->mfn, "extents: domain %u gfn 0x%llx order %u, not in order", d->id,
                          ULL(e->gfn.v), e->order);
        }
        end = e->gfn.v + BIT(e->order);
        frames += BIT(e->order);
    }
    if (frames << PAGE_SHIFT != bytes && d->state != DOMAIN_DYING) {
        audit_mismatch(a, AUDIT_NO_FRAME, "domain %u: %llu bytes; extents: %llu frames", d->id,
                       ULL(bytes), ULL(frames));
    }
    return usable;
}

/* ---- nested tables ---- */

struct tables {
    struct hc_audit *a;
    const struct domain *d;
    uint64_t pages;
};

static bool check_table(void *ctx, mfn_t mfn)
{
    struct tables *t = ctx;
    enum audit_named named = audit_name_page(mfn);

    t->pages++;
    /* Tables that lead to each other in the arena end here. */
    if (named != AUDIT_AGREES || t->pages > pool_used()) {
        audit_differs(t->a, mfn, "nested tables: domain %u, a table%s", t->d->id, again(named));
        return false;
    }
    return true;
}

static void check_leaf(void *ctx, gfn_t gfn, mfn_t mfn, unsigned int order)
{
    struct tables *t = ctx;
    const struct extent *e = extent_map_find(&t->d->extents, gfn);

    if (e == NULL) {
        audit_differs(t->a, mfn, "nested tables: domain %u gfn 0x%llx order %u; extents: none",
                      t->d->id, ULL(gfn.v), order);
    } else if (mfn.v - gfn.v != e->mfn.v - e->gfn.v ||
               gfn.v + BIT(order) > e->gfn.v + BIT(e->order)) {
        audit_differs(t->a, mfn,
                      "nested tables: domain %u gfn 0x%llx order %u; extents: mfn 0x%llx order %u",
                      t->d->id, ULL(gfn.v), order, ULL(e->mfn.v + (gfn.v - e->gfn.v)), e->order);
    }
}

static void check_tables(struct hc_audit *a, struct domain *d)
{
    struct tables t = {a, d, 0};
    const struct hvm_walk walk = {check_table, check_leaf, &t};
    uint64_t pages = hvm->walk(d, &walk);

    if (pages != t.pages) {
        audit_mismatch(a, AUDIT_NO_FRAME,
                       "nested tables: domain %u counts %llu pages; there are %llu", d->id,
                       ULL(pages), ULL(t.pages));
    }
}

/* ---- the rest ---- */

static void check_domains(struct hc_audit *a)
{
    unsigned int nr = 0;

    for_each_domain(d) {
        if (nr++ == DOMAIN_MAX_ID) {
            audit_mismatch(a, AUDIT_NO_FRAME, "domains: the list does not end");
            return;
        }
        if (check_extents(a, d) && hvm != NULL && d->stage2 != NULL) {
            check_tables(a, d);
        }
    }
}

static void check_modules(struct hc_audit *a)
{
    char who[32];
    unsigned int nr = 0;

    for (const struct image_module *m = image_modules; m != NULL; m = m->next) {
        (void)fmt_str(who, sizeof(who), "modules: image %u", nr++);
        audit_name_range(a, pa_to_mfn(m->start),
                         pa_to_mfn(align_up(m->start + m->bytes, PAGE_SIZE)), FRAME_MODULE, who);
    }
}

int audit_run(struct hc_audit *out)
{
    struct hc_lu_region r;

    *out = (struct hc_audit){.frames = 0};
    lu_get_region(&r);
    const struct lu_region region = {r.base, r.size};
    if (audit_frames_begin(out, &region, r.active)) {
        check_domains(out);
        check_modules(out);
        audit_lu(out);
        audit_frames_end(out);
    }
    return out->mismatches == 0 ? 0 : -EBADMSG;
}

int audit_print(struct hc_audit *out)
{
    int rc = audit_run(out);

    if (rc == 0) {
        printk("audit: ok frames=%llu", ULL(out->frames));
    } else if (out->mfn == INVALID_MFN_X) {
        printk("audit: MISMATCH n=%llu %s", ULL(out->mismatches), out->text);
    } else {
        printk("audit: MISMATCH n=%llu mfn 0x%llx: %s", ULL(out->mismatches), ULL(out->mfn),
               out->text);
    }
    return rc;
}

uint32_t audit_extents_digest(const struct domain *d)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];
        struct lu_extent fact = {e->gfn.v, e->mfn.v, e->order, e->flags};

        crc = crc32c(crc, &fact, sizeof(fact));
    }
    return crc;
}
