/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership audit: does everybody who names a frame say of it what the frametable says?
 *
 * Two views of each frame. One is the frametable's. The other is that of whoever should have the
 * frame: the extents and nested tables of a domain, the free lists, the stream's MFN list, the list
 * of modules, the region, the command line. The audit walks all of the second kind, notes in the
 * frametable which blocks were named, and then looks for blocks that nobody has named, or two have.
 * It changes nothing else, takes no memory, and ends whatever it finds.
 *
 * hv_lock held throughout. Costs some hundred instructions for each extent, leaf of nested tables
 * and block of the frametable, ten thousand for each section in pieces; RAM in large pieces hardly
 * counts. Not for the pause of an update, except where audit_gate() says so.
 */
#ifndef HV_AUDIT_H
#define HV_AUDIT_H

#include "hv/compiler.h"
#include "hv/frametable.h"
#include "hv/region.h"
#include "hv/types.h"
#include "public/hypercall.h"

struct domain;

/* hc_audit.mfn when the mismatch is of no frame: a counter, say. */
#define AUDIT_NO_FRAME INVALID_MFN

/* The whole audit. 0, or -EBADMSG: *out names the first mismatch and counts all of them, or those
 * up to one that makes it impossible to go on. Once memory_init() is done. */
MUST_CHECK int audit_run(struct hc_audit *out);

/* The same, with a line of the log about it. */
MUST_CHECK int audit_print(struct hc_audit *out);

/* CRC-32C over the extents of a domain as they stand in a stream. */
uint32_t audit_extents_digest(const struct domain *d);

/* ---- between the parts of the audit ---- */

/* A mismatch; the first one's text is kept, and one that is of a frame rather than one that is not.
 * audit_differs() puts what the frametable says of the
 * frame before it, so not before audit_frames_begin() has found that it can be asked. */
PRINTF(3, 4) void audit_mismatch(struct hc_audit *a, mfn_t mfn, const char *fmt, ...);
PRINTF(3, 4) void audit_differs(struct hc_audit *a, mfn_t mfn, const char *fmt, ...);

/* ---- mm/audit.c: the frametable's view ---- */

/*
 * A new audit: no block has been named. Looks at every entry of the frametable, so that the rest
 * can rely on what it finds there; at free lists and arena. False when entries are such that frames
 * cannot be looked up, and then the audit is over.
 */
MUST_CHECK bool audit_frames_begin(struct hc_audit *a, const struct lu_region *region,
                                   unsigned int arena);

enum audit_named {
    AUDIT_AGREES,
    AUDIT_DIFFERS, /* the frametable knows another block here */
    AUDIT_AGAIN,   /* it was named before */
};

/* Somebody names a block. */
MUST_CHECK enum audit_named audit_name(mfn_t mfn, unsigned int order, enum frame_state state,
                                       uint16_t owner);

/* The same for a domain's extents, in their order: how many it has, and nobody else has named. */
MUST_CHECK size_t audit_name_extents(const struct lu_extent *e, size_t nr, uint16_t owner);

/* From here on no block has been named. Not in the middle of an audit. Returns what audit_names()
 * returns until the next time, which an audit is as well. */
uint32_t audit_forget_names(void);
uint32_t audit_names(void);

/* Somebody, in words, names all RAM in [start, end): whole blocks that nobody else has named. But
 * of the region's frames some may be bad, and bad ones may be named more than once. */
void audit_name_range(struct hc_audit *a, mfn_t start, mfn_t end, enum frame_state state,
                      const char *who);

/* A page of this image's, by its frame: from the arena or the heap. */
MUST_CHECK enum audit_named audit_name_page(mfn_t mfn);

/* The blocks that nobody has named; the counters. */
void audit_frames_end(struct hc_audit *a);

/* ---- lu/audit.c: the update's view ---- */

void audit_lu(struct hc_audit *a);

#endif
