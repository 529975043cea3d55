/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Audit of the frametable itself: entries, blocks, free lists.
 *
 * First whether frames can be looked up at all; from there on everything may rely on it, and says
 * what both sides say.  Lock: heap_lock.  Host test: tests/host/test_audit.c
 */
#include "audit_priv.h"

#include "hv/boot_alloc.h"
#include "hv/seam.h"

#define ULL(x) ((unsigned long long)(x))

/* ---- entries ---- */

/* The frame of a page that a pointer leads to, if it may be looked into: RAM, and of the region
 * only what this image has taken of its arena. */
static mfn_t page_frame(const void *page)
{
    const struct e820 *map = &frametable.map;

    for (size_t i = 0; i < map->nr && is_aligned((uintptr_t)page, PAGE_SIZE); i++) {
        const struct e820_range *r = &map->ranges[i];

        if (r->type == E820_RAM) {
            uintptr_t offset = (uintptr_t)page - (uintptr_t)pa_to_va(r->start);
            paddr_t pa = r->start + offset;

            if (offset < r->end - r->start) {
                bool in_region = ranges_overlap(pa, pa + PAGE_SIZE, audit_now.region.base,
                                                audit_now.region.base + audit_now.region.size);

                return !in_region || boot_alloc_holds(pa_to_mfn(pa)) ? pa_to_mfn(pa) : INVALID_MFN;
            }
        }
    }
    return INVALID_MFN;
}

/* Can frames be looked up by these entries? */
static bool split_readable(struct hc_audit *a, uint32_t section)
{
    const struct split *split = frametable.sections[section].split;

    if (!mfn_valid(page_frame(split))) {
        audit_mismatch(a, section_mfn(section),
                       "frametable: in pieces; the table of them is no "
                       "page of this image");
        return false;
    }
    for (unsigned int i = 0; i < SECTION_FRAMES; i++) {
        const struct page_entry *e = &split->pages[i];

        if (e->state >= FRAME_STATES || e->state == FRAME_FREE ||
            (e->state != FRAME_NONE && (e->order >= ORDER_2M || !is_aligned(i, BIT(e->order))))) {
            audit_mismatch(a, mfn_from(section_mfn(section).v + i),
                           "frametable: state %u order %u; there is no such block here", e->state,
                           e->order);
            return false;
        }
    }
    return true;
}

static bool section_readable(struct hc_audit *a, uint32_t section)
{
    const struct section *e = &frametable.sections[section];

    if (e->state == FRAME_NONE) {
        return true;
    }
    if (e->state == SECTION_SPLIT) {
        return split_readable(a, section);
    }
    if (e->state > SECTION_SPLIT || e->order < ORDER_2M || e->order > MAX_ORDER ||
        !is_aligned(section, BIT(e->order - ORDER_2M))) {
        audit_mismatch(a, section_mfn(section),
                       "frametable: state %u order %u; there is no such block here", e->state,
                       e->order);
        return false;
    }
    return true;
}

bool audit_tables_readable(struct hc_audit *a)
{
    for (uint32_t s = 0; s < frametable.nr_sections; s++) {
        if (!section_readable(a, s)) {
            return false;
        }
    }
    return true;
}

/* ---- blocks ---- */

static bool is_ram(mfn_t mfn, unsigned int order)
{
    return e820_is_ram(&frametable.map, mfn_to_pa(mfn), mfn_to_pa(mfn_from(mfn.v + BIT(order))));
}

static void count_block(struct hc_audit *a, mfn_t mfn, unsigned int order, unsigned int state)
{
    audit_now.count[state] += BIT(order);
    if (!is_ram(mfn, order)) {
        audit_differs(a, mfn, "memory map: not all of it is RAM");
    }
}

/* Frames of a split section by bit: whether a block holds them. True: none did before. */
static bool cover(uint64_t covered[SECTION_FRAMES / 64], unsigned int index, unsigned int order)
{
    bool fresh = true;

    for (unsigned int i = index; i < index + BIT(order); i++) {
        fresh &= (covered[i / 64] & BIT(i % 64)) == 0;
        covered[i / 64] |= BIT(i % 64);
    }
    return fresh;
}

static void check_split_used(struct hc_audit *a, uint32_t section, uint64_t covered[])
{
    const struct split *split = frametable.sections[section].split;
    unsigned int used = 0, preserved = 0;

    for (unsigned int i = 0; i < SECTION_FRAMES; i++) {
        const struct page_entry *e = &split->pages[i];
        mfn_t mfn = mfn_from(section_mfn(section).v + i);

        if (e->state == FRAME_NONE) {
            continue;
        }
        if (!cover(covered, i, e->order)) {
            audit_differs(a, mfn, "frametable: inside another block");
        }
        count_block(a, mfn, e->order, e->state);
        used += 1U << e->order;
        preserved += frame_state_preserved((enum frame_state)e->state) ? 1U << e->order : 0;
    }
    if (used != split->used || preserved != split->preserved) {
        audit_mismatch(a, AUDIT_NO_FRAME,
                       "section 0x%x: counts %u used, %u preserved; its blocks: %u and %u", section,
                       split->used, split->preserved, used, preserved);
    }
    audit_now.split_preserved += preserved != 0 ? 1 : 0;
}

static unsigned int bit_order(unsigned int bit)
{
    return ORDER_2M - (31U - (unsigned int)__builtin_clz(bit));
}

static void check_split_free(struct hc_audit *a, uint32_t section, uint64_t covered[])
{
    const struct split *split = frametable.sections[section].split;
    unsigned int free = 0, largest = NO_LIST;

    if (free_map_test(split, 0) || free_map_test(split, 1)) {
        audit_mismatch(a, section_mfn(section), "frametable: in pieces; free map: free as a whole");
    }
    for (unsigned int bit = 2; bit < 2 * SECTION_FRAMES; bit++) {
        if (split->free_map[bit / 64] == 0) {
            bit |= 63;
            continue;
        }
        if (!free_map_test(split, bit)) {
            continue;
        }
        unsigned int order = bit_order(bit);
        unsigned int index = (bit << order) - (unsigned int)SECTION_FRAMES;
        mfn_t mfn = mfn_from(section_mfn(section).v + index);

        if (!cover(covered, index, order)) {
            audit_differs(a, mfn, "free map: FREE order %u", order);
        }
        if ((bit & 1) == 0 && free_map_test(split, bit + 1)) {
            audit_differs(a, mfn, "heap: its buddy is free too");
        }
        count_block(a, mfn, order, FRAME_FREE);
        free += 1U << order;
        largest = largest == NO_LIST ? order : largest; /* large ones come first */
    }
    if (free != split->free || largest != split->list) {
        audit_mismatch(a, AUDIT_NO_FRAME,
                       "section 0x%x: counts %u free, in list %u; its free map: %u, list %u",
                       section, split->free, split->list, free, largest);
    }
}

static void check_split(struct hc_audit *a, uint32_t section)
{
    const struct split *split = frametable.sections[section].split;
    uint64_t covered[SECTION_FRAMES / 64] = {0};
    mfn_t table = page_frame(split);

    check_split_used(a, section, covered);
    check_split_free(a, section, covered);
    bool inside = mfn_section(table) == section;
    /* As a byte: it may be neither true nor false. */
    if (*(const uint8_t *)&split->self_hosted != (inside ? 1 : 0)) {
        audit_differs(a, table, "section 0x%x: its table is%s in it; it says otherwise", section,
                      inside ? "" : " not");
    }
    if (audit_name_page_locked(table) != AUDIT_AGREES) {
        audit_differs(a, table, "section 0x%x: its table", section);
    }
}

static bool is_free_block(uint32_t section, unsigned int order)
{
    const struct section *e = &frametable.sections[section];

    return section < frametable.nr_sections && e->state == FRAME_FREE && e->order == order;
}

/* No two free blocks of one order are halves of a larger one. */
static void check_buddy(struct hc_audit *a, uint32_t section)
{
    unsigned int order = frametable.sections[section].order;
    uint32_t upper = section + (1U << (order - ORDER_2M));

    if (order < MAX_ORDER && is_aligned(section, BIT(order + 1 - ORDER_2M)) &&
        is_free_block(section, order) && is_free_block(upper, order)) {
        audit_differs(a, section_mfn(section), "heap: its buddy is free too");
    }
}

/* Entries of one GiB, or fewer at the end. `inside`: up to this section a block reaches. */
static void check_gib(struct hc_audit *a, uint32_t first, uint32_t end, uint32_t *inside)
{
    uint64_t used = 0;

    for (uint32_t s = first; s < end; s++) {
        const struct section *e = &frametable.sections[s];

        if (e->state == FRAME_NONE) {
            continue;
        }
        if (s < *inside) {
            audit_differs(a, section_mfn(s), "frametable: inside another block");
        }
        if (e->state == SECTION_SPLIT) {
            used++;
            check_split(a, s);
            continue;
        }
        used += BIT(e->order - ORDER_2M);
        *inside = MAX(*inside, s + (1U << (e->order - ORDER_2M)));
        count_block(a, section_mfn(s), e->order, e->state);
        check_buddy(a, s);
    }
    if (used != frametable.gib_used[first >> GIB_SHIFT]) {
        audit_mismatch(a, AUDIT_NO_FRAME, "GiB %u: counts %u sections; its entries: %llu",
                       first >> GIB_SHIFT, frametable.gib_used[first >> GIB_SHIFT], ULL(used));
    }
}

static void check_blocks(struct hc_audit *a)
{
    uint32_t inside = 0;

    for (uint32_t s = 0; s < frametable.nr_sections; s += (uint32_t)GIB_SECTIONS) {
        check_gib(a, s, (uint32_t)MIN(s + GIB_SECTIONS, frametable.nr_sections), &inside);
    }
}

/* ---- free lists ---- */

static bool belongs_in_list(uint32_t section, unsigned int list)
{
    const struct section *e = &frametable.sections[section];

    return list >= ORDER_2M ? e->state == FRAME_FREE && e->order == list
                            : e->state == SECTION_SPLIT && e->split->list == list;
}

static const struct links *links_of(uint32_t section)
{
    const struct section *e = &frametable.sections[section];

    return e->state == SECTION_SPLIT ? &e->split->links : &e->links;
}

/* Ends even if it runs in a circle: the first one met again has another one before it. */
static void check_list(struct hc_audit *a, unsigned int list)
{
    bool nonempty;
    uint32_t prev = NO_SECTION, at = buddy_list_locked(list, &nonempty);

    if (nonempty != (at != NO_SECTION)) {
        audit_mismatch(a, AUDIT_NO_FRAME, "free list %u: %sempty; said to be otherwise", list,
                       nonempty ? "" : "not ");
    }
    while (at != NO_SECTION) {
        if (at >= frametable.nr_sections) {
            audit_mismatch(a, prev == NO_SECTION ? AUDIT_NO_FRAME : section_mfn(prev),
                           "free list %u: leads to section 0x%x; there are 0x%x", list, at,
                           frametable.nr_sections);
            return;
        }
        if (!belongs_in_list(at, list)) {
            audit_differs(a, section_mfn(at), "free list %u: in it", list);
            return;
        }
        if (links_of(at)->prev != prev) {
            audit_differs(a, section_mfn(at), "free list %u: behind section 0x%x, not 0x%x", list,
                          prev, links_of(at)->prev);
            return;
        }
        (void)audit_note(&frametable.sections[at].named);
        prev = at;
        at = links_of(at)->next;
    }
}

void audit_tables(struct hc_audit *a)
{
    check_blocks(a);
    for (unsigned int list = 0; list <= MAX_ORDER; list++) {
        check_list(a, list);
    }
}
