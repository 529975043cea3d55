/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit, the frametable's side: are its entries sound, is the heap what it says, and which blocks
 * does somebody name?
 *
 * That a block was named is noted beside its entry, with the number of the audit, so that nothing
 * has to be cleared.  Lock: heap_lock.  Host test: tests/host/test_audit.c
 */
#include "hv/audit.h"

#include "audit_priv.h"
#include "hv/boot_alloc.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"

#define ULL(x) ((unsigned long long)(x))
#define TEXT_MAX 64U

struct audit_run audit_now;

static const char *state_name(unsigned int state)
{
    static const char *const names[FRAME_STATES] = {
        [FRAME_NONE] = "NONE",         [FRAME_FREE] = "FREE",     [FRAME_IMAGE] = "IMAGE",
        [FRAME_REGION] = "REGION",     [FRAME_BAD] = "BAD",       [FRAME_RESERVED] = "RESERVED",
        [FRAME_GUEST] = "GUEST",       [FRAME_STREAM] = "STREAM", [FRAME_MODULE] = "MODULE",
        [FRAME_RECORDER] = "RECORDER",
    };

    return state < FRAME_STATES ? names[state] : "?";
}

/* What the frametable says of a frame, in words. */
static void frame_text(mfn_t mfn, char text[TEXT_MAX])
{
    struct frame_info f = frametable_block_locked(mfn);
    size_t n = fmt_str(text, TEXT_MAX, "%s", state_name(f.state));

    if (f.owner != OWNER_NONE) {
        n += fmt_str(text + n, TEXT_MAX - n, " of %u", f.owner);
    }
    n += fmt_str(text + n, TEXT_MAX - n, " order %u", f.order);
    if (f.head.v != mfn.v) {
        (void)fmt_str(text + n, TEXT_MAX - n, " from 0x%llx", ULL(f.head.v));
    }
}

static void mismatch(struct hc_audit *a, mfn_t mfn, const char *prefix, const char *fmt,
                     va_list args)
{
    a->mismatches++;
    if (a->mismatches == 1 || (a->mfn == INVALID_MFN_X && mfn_valid(mfn))) {
        size_t n = fmt_str(a->text, sizeof(a->text), "%s", prefix);

        a->mfn = mfn.v;
        (void)fmt_vstr(a->text + n, sizeof(a->text) - n, fmt, args);
    }
}

void audit_mismatch(struct hc_audit *a, mfn_t mfn, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    mismatch(a, mfn, "", fmt, args);
    va_end(args);
}

void audit_differs(struct hc_audit *a, mfn_t mfn, const char *fmt, ...)
{
    char text[TEXT_MAX], prefix[TEXT_MAX + 16];
    va_list args;

    frame_text(mfn, text);
    (void)fmt_str(prefix, sizeof(prefix), "frametable: %s; ", text);
    va_start(args, fmt);
    mismatch(a, mfn, prefix, fmt, args);
    va_end(args);
}

/* ---- which blocks were named ---- */

bool audit_note(uint32_t *number)
{
    bool fresh = *number != audit_now.number;

    *number = audit_now.number;
    return fresh;
}

/* Notes that a block was named; false when it was already. */
static bool note_block(mfn_t head, unsigned int order)
{
    struct section *e = &frametable.sections[mfn_section(head)];
    unsigned int index = mfn_in_section(head);
    bool fresh;

    if (order >= ORDER_2M) {
        return audit_note(&e->named);
    }
    if (audit_note(&e->split->named_number)) {
        memset(e->split->named, 0, sizeof(e->split->named));
    }
    fresh = (e->split->named[index / 64] & BIT(index % 64)) == 0;
    e->split->named[index / 64] |= BIT(index % 64);
    return fresh;
}

static bool is_noted(mfn_t head, unsigned int order)
{
    const struct section *e = &frametable.sections[mfn_section(head)];
    unsigned int index = mfn_in_section(head);

    if (order >= ORDER_2M) {
        return e->named == audit_now.number;
    }
    return e->split->named_number == audit_now.number &&
           (e->split->named[index / 64] & BIT(index % 64)) != 0;
}

/* The frametable knows just this block. Entries are set at the first frames of blocks only. */
static bool is_block(mfn_t mfn, unsigned int order, enum frame_state state, uint16_t owner)
{
    const struct section *e;

    if (mfn.v >> ORDER_2M >= frametable.nr_sections || !is_aligned(mfn.v, BIT(order))) {
        return false;
    }
    e = &frametable.sections[mfn_section(mfn)];
    if (order >= ORDER_2M) {
        return e->state == state && e->order == order && e->owner == owner;
    }
    if (e->state != SECTION_SPLIT) {
        return false;
    }
    const struct page_entry *page = &e->split->pages[mfn_in_section(mfn)];
    return page->state == state && page->order == order && page->owner == owner;
}

enum audit_named audit_name_locked(mfn_t mfn, unsigned int order, enum frame_state state,
                                   uint16_t owner)
{
    if (!is_block(mfn, order, state, owner)) {
        return AUDIT_DIFFERS;
    }
    return note_block(mfn, order) ? AUDIT_AGREES : AUDIT_AGAIN;
}

enum audit_named audit_name_page_locked(mfn_t mfn)
{
    return boot_alloc_holds(mfn) ? AUDIT_AGREES
                                 : audit_name_locked(mfn, ORDER_4K, FRAME_IMAGE, OWNER_NONE);
}

enum audit_named audit_name(mfn_t mfn, unsigned int order, enum frame_state state, uint16_t owner)
{
    spin_lock(&heap_lock);
    enum audit_named named = audit_name_locked(mfn, order, state, owner);
    spin_unlock(&heap_lock);
    return named;
}

enum audit_named audit_name_page(mfn_t mfn)
{
    spin_lock(&heap_lock);
    enum audit_named named = audit_name_page_locked(mfn);
    spin_unlock(&heap_lock);
    return named;
}

static void name_range(struct hc_audit *a, uint64_t pos, uint64_t end, enum frame_state state,
                       const char *who)
{
    uint64_t start = pos;

    while (pos < end) {
        struct frame_info f = frametable_block_locked(mfn_from(pos));
        uint64_t f_end = f.head.v + BIT(f.order);
        mfn_t at = mfn_from(pos);

        pos = f_end;
        if (state == FRAME_REGION && f.state == FRAME_BAD) {
            continue;
        }
        if (f.state != state) {
            audit_differs(a, at, "%s", who);
        } else if (state == FRAME_BAD) {
            (void)note_block(f.head, f.order);
        } else if (f.head.v < start || f_end > end) {
            audit_differs(a, at, "%s, which has not all of that", who);
        } else if (!note_block(f.head, f.order)) {
            audit_differs(a, at, "%s, and somebody else", who);
        }
    }
}

void audit_name_range(struct hc_audit *a, mfn_t start, mfn_t end, enum frame_state state,
                      const char *who)
{
    paddr_t from = mfn_to_pa(start), ram, ram_end;

    spin_lock(&heap_lock);
    while (e820_next_ram(&frametable.map, from, &ram, &ram_end) && ram >> PAGE_SHIFT < end.v) {
        name_range(a, ram >> PAGE_SHIFT, MIN(ram_end >> PAGE_SHIFT, end.v), state, who);
        from = ram_end;
    }
    spin_unlock(&heap_lock);
}

/* ---- the whole ---- */

static void forget_names(void)
{
    audit_now.number = audit_now.number == UINT32_MAX ? 1 : audit_now.number + 1;
}

uint32_t audit_forget_names(void)
{
    spin_lock(&heap_lock);
    forget_names();
    spin_unlock(&heap_lock);
    return audit_now.number;
}

uint32_t audit_names(void)
{
    return audit_now.number;
}

bool audit_frames_begin(struct hc_audit *a, const struct lu_region *region, unsigned int arena)
{
    const char *why;

    spin_lock(&heap_lock);
    forget_names();
    audit_now.region = *region;
    audit_now.split_preserved = 0;
    memset(audit_now.count, 0, sizeof(audit_now.count));
    bool readable = audit_tables_readable(a);
    if (readable) {
        audit_tables(a);
    }
    spin_unlock(&heap_lock);
    why = boot_alloc_check(region_arena_start(region, arena), region_arena_end(region, arena));
    if (why != NULL) {
        audit_mismatch(a, AUDIT_NO_FRAME, "arena: %s", why);
    }
    return readable;
}

/* A block that nobody has named. */
static void check_named(struct hc_audit *a, mfn_t mfn, const struct frame_info *f)
{
    static const char *const nobody[FRAME_STATES] = {
        [FRAME_NONE] = "heap: open here, and it is not there",
        [FRAME_FREE] = "free lists: in none",
        [FRAME_REGION] = "region: outside",
        [FRAME_BAD] = "command line: no badpage= names it",
        [FRAME_RESERVED] = "frame 0 alone is left out",
        [FRAME_GUEST] = "extents: no domain's",
        [FRAME_STREAM] = "MFN lists: in none",
        [FRAME_MODULE] = "modules: no image's",
        [FRAME_RECORDER] = "flight recorder: elsewhere",
    };
    bool named;

    if (f->state == FRAME_IMAGE) { /* whoever has it would have to be asked */
        return;
    }
    if (f->state == FRAME_NONE) {
        named = mfn_section(mfn) >= buddy_opened_up_to_locked();
    } else if (f->state == FRAME_FREE) {
        named = frametable.sections[mfn_section(f->head)].named == audit_now.number;
    } else {
        named = is_noted(f->head, f->order);
    }
    if (!named) {
        audit_differs(a, mfn, "%s", nobody[f->state]);
    }
}

static void check_counters(struct hc_audit *a)
{
    uint64_t sum = 0;

    for (unsigned int s = 1; s < FRAME_STATES; s++) {
        sum += audit_now.count[s];
    }
    audit_now.count[FRAME_NONE] = e820_ram_frames(&frametable.map) - sum;
    for (unsigned int s = 0; s < FRAME_STATES; s++) {
        if (audit_now.count[s] != frametable.count[s]) {
            audit_mismatch(a, AUDIT_NO_FRAME, "counters: %llu frames %s; frametable: %llu",
                           ULL(frametable.count[s]), state_name(s), ULL(audit_now.count[s]));
        }
    }
    if (audit_now.split_preserved != frametable.split_preserved) {
        audit_mismatch(a, AUDIT_NO_FRAME,
                       "counters: %llu sections with small preserved blocks; frametable: %llu",
                       ULL(frametable.split_preserved), ULL(audit_now.split_preserved));
    }
}

void audit_frames_end(struct hc_audit *a)
{
    paddr_t from = 0, ram, ram_end;

    spin_lock(&heap_lock);
    while (e820_next_ram(&frametable.map, from, &ram, &ram_end)) {
        for (uint64_t pos = ram >> PAGE_SHIFT; pos < ram_end >> PAGE_SHIFT;) {
            struct frame_info f = frametable_block_locked(mfn_from(pos));
            uint64_t end = MIN(f.head.v + BIT(f.order), ram_end >> PAGE_SHIFT);

            check_named(a, mfn_from(pos), &f);
            a->frames += end - pos;
            pos = end;
        }
        from = ram_end;
    }
    check_counters(a);
    spin_unlock(&heap_lock);
}
