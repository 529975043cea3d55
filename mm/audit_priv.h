/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit: what mm/audit.c (who names which block) and mm/audit_tables.c (is the frametable sound)
 * share. heap_lock held.
 */
#ifndef MM_AUDIT_PRIV_H
#define MM_AUDIT_PRIV_H

#include "frametable_priv.h"
#include "hv/audit.h"

/* The audit that is going on, or the last one. */
struct audit_run {
    uint32_t number; /* never 0 */
    struct lu_region region;
    /* Found in the frametable's blocks; without FRAME_NONE. */
    uint64_t count[FRAME_STATES];
    uint64_t split_preserved;
};

extern struct audit_run audit_now;

/* Can frames be looked up by the entries? False, and the mismatch is told, when not. */
bool audit_tables_readable(struct hc_audit *a);

/* What the frametable and the heap say of themselves; counts blocks. Names the tables of sections
 * in pieces, and the sections in free lists. */
void audit_tables(struct hc_audit *a);

enum audit_named audit_name_locked(mfn_t mfn, unsigned int order, enum frame_state state,
                                   uint16_t owner);
enum audit_named audit_name_page_locked(mfn_t mfn);

/* Puts the audit's number somewhere; false when it was there. */
bool audit_note(uint32_t *number);

#endif
