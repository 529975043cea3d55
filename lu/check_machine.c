/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking the facts: records of the machine itself, since version 2.
 *
 * CPUS is compared with what is here. On the new side that is what the handover page and this CPU
 * say; on the old side it was written a moment ago and has to agree as well.
 *
 * Host test: tests/host/test_restore_check.c, tests/host/fuzz/fuzz_restore.c
 */
#include "check_priv.h"

#include "hv/frametable.h"
#include "hv/hvm.h"
#include "hv/percpu.h"
#include "hv/string.h"

int check_cpus(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_cpus rec;

    if (c->cpus || item->length != sizeof(rec)) {
        return check_bad(c, "CPUS: doubled or of a wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.flags & ~LU_CPUS_VIRTUALIZED) {
        return check_bad(c, "CPUS: unknown flags");
    }
    if (rec.cpus != cpus_expected) {
        return check_bad(c, "CPUS: another number of CPUs than here");
    }
    if ((rec.flags & LU_CPUS_VIRTUALIZED) && hvm_find() == NULL) {
        return check_bad(c, "CPUS: vCPUs run, and there is no virtualization here");
    }
    if (rec.features & ~lu_features()) {
        return check_bad(c, "CPUS: a feature is in use that this image lacks");
    }
    c->cpus = true;
    return 0;
}

int check_recorder(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_recorder rec;
    mfn_t start;

    if (c->recorder || item->length != sizeof(rec)) {
        return check_bad(c, "RECORDER: doubled or of a wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    if (rec.bytes < PAGE_SIZE || rec.bytes > PAGE_SIZE << MAX_ORDER ||
        (rec.bytes & (rec.bytes - 1)) != 0 || !is_aligned(rec.pa, rec.bytes)) {
        return check_bad(c, "RECORDER: impossible values");
    }
    c->recorder = true;
    start = pa_to_mfn(rec.pa); /* aligned: its end does not wrap but to 0, which nobody accepts */
    return check_take(c, start, mfn_from(start.v + (rec.bytes >> PAGE_SHIFT)), FRAME_RECORDER,
                      OWNER_NONE, "RECORDER: not in usable memory, or that is taken");
}

int check_digest(struct checker *c, const struct stream_item *item)
{
    struct lu_rec_digest rec;
    struct seen_domain *d;

    if (item->length != sizeof(rec)) {
        return check_bad(c, "DIGEST: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || d->digest || rec.reserved != 0 || (rec.flags & ~LU_DIGEST_MEMORY) ||
        (rec.memory_crc != 0 && !(rec.flags & LU_DIGEST_MEMORY))) {
        return check_bad(c, "DIGEST: unknown domain, doubled or impossible values");
    }
    d->digest = true;
    return 0;
}

/* What it says is for people: the reader takes what fits. */
int check_stops(struct checker *c, const struct stream_item *item)
{
    if (c->stops || item->length % sizeof(struct lu_stop) != 0) {
        return check_bad(c, "STOPS: doubled or of a wrong length");
    }
    c->stops = true;
    return 0;
}

/* Whether they lie in the domain's memory is for whoever touches them: frames are found by its
 * extents alone. */
int check_fresh(struct checker *c, const struct stream_item *item)
{
    const struct lu_fresh_run *r;
    struct lu_rec_fresh rec;
    struct seen_domain *d;
    uint64_t next = 0;
    size_t n;

    if (item->length <= sizeof(rec) || (item->length - sizeof(rec)) % sizeof(*r) != 0) {
        return check_bad(c, "FRESH: wrong length");
    }
    memcpy(&rec, item->data, sizeof(rec));
    d = check_find(c, rec.domain);
    if (d == NULL || d->fresh || rec.reserved[0] != 0 || rec.reserved[1] != 0 ||
        rec.reserved[2] != 0) {
        return check_bad(c, "FRESH: unknown domain, doubled or reserved fields");
    }
    n = (item->length - sizeof(rec)) / sizeof(*r);
    r = (const struct lu_fresh_run *)(item->data + sizeof(rec));
    for (size_t i = 0; i < n; i++, r++) {
        if (!is_aligned(r->gfn | r->frames, LU_FRESH_UNIT) || r->frames == 0 || r->gfn < next ||
            r->gfn >= FRAME_LIMIT || r->frames > FRAME_LIMIT - r->gfn) {
            return check_bad(c, "FRESH: misaligned, empty or unsorted runs");
        }
        next = r->gfn + r->frames;
    }
    d->fresh = true;
    return 0;
}
