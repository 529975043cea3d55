/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit as a gate inside updates: in test images always, in others when audit= asks for it.
 *
 *   old image   audit_gate_before()   guests stand: audit, digests of every domain
 *               save_digest()         the digests travel
 *   new image   audit_gate_adopted()  before commit 1: the same digests, and an audit
 *               audit_gate_report()   when everything is tidy: once more
 *   old image   audit_gate_back()     if it came back instead: the same digests as before, an audit
 *
 * Host test: tests/host/test_audit_gate.c
 */
#include "lu_priv.h"

#include "hv/audit.h"
#include "hv/cmdline.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"

#define ULL(x) ((unsigned long long)(x))

/* Memory is summed at a rate that depends on the machine: what the old image needed, the new one
 * may need as well, and some more. */
#define ALLOWANCE 2U
#define PREFIX "audit: " /* of reasons */

enum gate {
    GATE_OFF,
    GATE_FACTS,  /* audit, digests of extents */
    GATE_MEMORY, /* and of memory */
};

#ifdef MOLT_FAULTS
#define GATE_DEFAULT GATE_MEMORY
#else
#define GATE_DEFAULT GATE_OFF
#endif

static uint64_t took; /* TSC cycles of the last audit_gate_before() */

static enum gate gate(void)
{
    struct str_span v;

    if (!cmdline_get(lu.boot.cmdline, "audit", &v)) {
        return GATE_DEFAULT;
    }
    return span_eq(v, "memory") ? GATE_MEMORY : span_eq(v, "update") ? GATE_FACTS : GATE_OFF;
}

static struct domain_sums sums_of(struct domain *d, bool memory)
{
    return (struct domain_sums){
        .extents = audit_extents_digest(d),
        .memory = memory ? domain_digest(d) : 0,
        .has_memory = memory,
    };
}

/* The audit, in a form for *why. */
static int audit_why(const char **why)
{
    static char text[sizeof(((struct hc_audit *)NULL)->text) + 32];
    struct hc_audit found;
    int rc = audit_run(&found);

    if (rc != 0) {
        size_t n = fmt_str(text, sizeof(text), PREFIX);

        if (found.mfn != INVALID_MFN_X) {
            n += fmt_str(text + n, sizeof(text) - n, "mfn 0x%llx: ", ULL(found.mfn));
        }
        (void)fmt_str(text + n, sizeof(text) - n, "%s", found.text);
        *why = text;
    }
    return rc;
}

static int compare(struct domain *d, const struct domain_sums *want, const char **why)
{
    static char text[LU_REASON_MAX];
    struct domain_sums now = sums_of(d, want->has_memory);
    bool extents = now.extents != want->extents;

    if (!extents && now.memory == want->memory) {
        return 0;
    }
    fmt_str(text, sizeof(text), PREFIX "domain %u: digest of %s was %08x, is %08x", d->id,
            extents ? "extents" : "memory", extents ? want->extents : want->memory,
            extents ? now.extents : now.memory);
    *why = text;
    return -EBADMSG;
}

int audit_gate_before(const char **why)
{
    uint64_t from = tsc_read();
    int rc;

    took = 0;
    if (gate() == GATE_OFF) {
        return 0;
    }
    rc = audit_why(why);
    for_each_domain(d) {
        d->sums = sums_of(d, gate() == GATE_MEMORY);
    }
    took = tsc_read() - from;
    return rc;
}

uint64_t audit_gate_allowance(void)
{
    return took * ALLOWANCE;
}

void save_digest(struct stream_writer *w, const struct domain *d)
{
    const struct lu_rec_digest rec = {
        .domain = d->id,
        .flags = d->sums.has_memory ? LU_DIGEST_MEMORY : 0,
        .extents_crc = d->sums.extents,
        .memory_crc = d->sums.memory,
    };

    if (gate() != GATE_OFF) {
        stream_record(w, LU_REC_DIGEST, &rec, sizeof(rec), NULL, 0);
    }
}

int audit_gate_adopted(struct stream_reader *r, const char **why)
{
    struct stream_item item;
    int rc = gate() != GATE_OFF ? audit_why(why) : 0;

    stream_rewind(r);
    while (rc == 0 && stream_next(r, &item)) {
        if (item.type == LU_REC_DIGEST && restore_knows(r, item.type)) {
            const struct lu_rec_digest *rec = (const void *)item.data;
            const struct domain_sums want = {rec->extents_crc, rec->memory_crc,
                                             rec->flags & LU_DIGEST_MEMORY};

            rc = compare(domain_find(rec->domain), &want, why);
        }
    }
    stream_rewind(r);
    return rc;
}

void audit_gate_back(void)
{
    const char *why = "";
    int rc = 0;

    if (gate() == GATE_OFF) {
        return;
    }
    for_each_domain(d) {
        if (rc == 0) {
            rc = compare(d, &d->sums, &why);
        }
    }
    if (rc == 0) {
        rc = audit_why(&why);
    }
    if (rc != 0) {
        printk("audit: MISMATCH back: %s", why + sizeof(PREFIX) - 1);
    }
}

void audit_gate_report(void)
{
    struct hc_audit found;

    if (gate() != GATE_OFF) {
        (void)!audit_print(&found);
    }
}
