/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frametable: section entries, page-entry tables, claims and counts.
 *
 * Owns: who owns which frame.  Lock: heap_lock (shared with mm/buddy.c).
 * Host test: tests/host/test_frametable.c
 * Invariant: the counts sum up to the frames of RAM.
 */
#include "hv/frametable.h"

#include "frametable_priv.h"
#include "hv/boot_alloc.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"
#include "hv/string.h"

struct frametable frametable;
struct spinlock heap_lock;

static uint64_t sections_for(paddr_t ram_end)
{
    return (ram_end >> (PAGE_SHIFT + ORDER_2M)) +
           ((ram_end & (SECTION_FRAMES * PAGE_SIZE - 1)) != 0 ? 1 : 0);
}

static uint64_t gibs_for(uint64_t sections)
{
    return (sections + GIB_SECTIONS - 1) >> GIB_SHIFT;
}

uint64_t frametable_bytes(paddr_t ram_end)
{
    uint64_t sections = sections_for(ram_end);

    return align_up(sections * sizeof(struct section), PAGE_SIZE) +
           align_up(gibs_for(sections) * sizeof(uint16_t), PAGE_SIZE);
}

int frametable_init(const struct e820 *map)
{
    uint64_t sections = sections_for(e820_ram_end(map));

    spin_lock_init(&heap_lock);
    memset(&frametable, 0, sizeof(frametable));
    frametable.map = *map;
    frametable.count[FRAME_NONE] = e820_ram_frames(map);
    if (sections == 0) {
        return 0;
    }
    frametable.sections = boot_alloc(align_up(sections * sizeof(struct section), PAGE_SIZE),
                                     PAGE_SIZE);
    frametable.gib_used = boot_alloc(align_up(gibs_for(sections) * sizeof(uint16_t), PAGE_SIZE),
                                     PAGE_SIZE);
    if (frametable.sections == NULL || frametable.gib_used == NULL) {
        return -ENOMEM;
    }
    frametable.nr_sections = (uint32_t)sections;
    return 0;
}

/*
 * First section of the block that holds a section, or NO_SECTION when it is blank. Blocks are
 * aligned, so only ten places can be the first one; and a block that starts at one of them but
 * ends below the section rules out all larger ones, which would hold that block too.
 */
static uint32_t section_head(uint32_t section)
{
    for (unsigned int o = 0; o <= MAX_ORDER - ORDER_2M; o++) {
        uint32_t head = section & ~((1U << o) - 1);
        const struct section *e = &frametable.sections[head];

        if (e->state != FRAME_NONE) {
            return e->state == SECTION_SPLIT ? (o == 0 ? head : NO_SECTION)
                                             : (e->order >= ORDER_2M + o ? head : NO_SECTION);
        }
    }
    return NO_SECTION;
}

static struct frame_info info_make(enum frame_state state, unsigned int order, uint16_t owner,
                                   mfn_t any)
{
    return (struct frame_info){
        .state = state,
        .order = order,
        .owner = owner,
        .head = mfn_from(align_down(any.v, BIT(order))),
    };
}

static struct frame_info page_block(const struct split *split, mfn_t mfn)
{
    unsigned int index = mfn_in_section(mfn);

    for (unsigned int o = 0; o < ORDER_2M; o++) {
        const struct page_entry *e = &split->pages[index & ~((1U << o) - 1)];

        if (e->state != FRAME_NONE) {
            if (e->order >= o) {
                return info_make((enum frame_state)e->state, e->order, e->owner, mfn);
            }
            break;
        }
    }
    for (unsigned int o = 0; o < ORDER_2M; o++) {
        if (free_map_test(split, free_map_bit(index, o))) {
            return info_make(FRAME_FREE, o, OWNER_NONE, mfn);
        }
    }
    return info_make(FRAME_NONE, ORDER_4K, OWNER_NONE, mfn);
}

struct frame_info frametable_block_locked(mfn_t mfn)
{
    if (mfn.v >> ORDER_2M >= frametable.nr_sections) {
        return info_make(FRAME_NONE, ORDER_4K, OWNER_NONE, mfn);
    }
    uint32_t section = mfn_section(mfn);
    if (frametable.gib_used[section >> GIB_SHIFT] == 0) {
        return info_make(FRAME_NONE, ORDER_1G, OWNER_NONE, mfn);
    }
    uint32_t head = section_head(section);
    if (head == NO_SECTION) {
        return info_make(FRAME_NONE, ORDER_2M, OWNER_NONE, mfn);
    }
    const struct section *e = &frametable.sections[head];
    if (e->state == SECTION_SPLIT) {
        return page_block(e->split, mfn);
    }
    return info_make((enum frame_state)e->state, e->order, e->owner, mfn);
}

/* True when a block of a split section, of which nothing is free, is blank: of used blocks, those
 * that start in it are looked at, and those that could hold it. */
static bool pages_blank(const struct split *split, unsigned int index, unsigned int order)
{
    if (split->used == 0) {
        return true;
    }
    for (unsigned int o = order + 1; o < ORDER_2M; o++) {
        const struct page_entry *e = &split->pages[index & ~((1U << o) - 1)];

        if (e->state != FRAME_NONE && e->order >= o) {
            return false;
        }
    }
    return mem_is_zero(&split->pages[index], sizeof(split->pages[0]) << order);
}

/* The same for a block of whole sections. */
static bool sections_blank(uint32_t section, unsigned int order)
{
    if (frametable.gib_used[section >> GIB_SHIFT] == 0) {
        return true;
    }
    for (unsigned int o = order + 1; o <= MAX_ORDER; o++) {
        const struct section *e = &frametable.sections[section & ~((1U << (o - ORDER_2M)) - 1)];

        if (e->state != FRAME_NONE && e->state != SECTION_SPLIT && e->order >= o) {
            return false;
        }
    }
    for (uint32_t i = 0; i < 1U << (order - ORDER_2M); i++) {
        if (frametable.sections[section + i].state != FRAME_NONE) {
            return false;
        }
    }
    return true;
}

/* True when the block is blank as a whole. Costs as many looks as there are blocks in it. */
static bool block_blank(mfn_t mfn, unsigned int order)
{
    uint64_t end = mfn.v + BIT(order);

    if ((end - 1) >> ORDER_2M < frametable.nr_sections) {
        uint32_t section = mfn_section(mfn);
        const struct section *e = &frametable.sections[section];

        if (order >= ORDER_2M) {
            return sections_blank(section, order);
        }
        if (e->state == SECTION_SPLIT && e->split->free == 0) {
            return pages_blank(e->split, mfn_in_section(mfn), order);
        }
    }
    for (uint64_t pos = mfn.v; pos < end;) {
        struct frame_info info = frametable_block_locked(mfn_from(pos));

        if (info.state != FRAME_NONE) {
            return false;
        }
        pos = info.head.v + BIT(info.order);
    }
    return true;
}

static void gib_used_add(uint32_t section, unsigned int order, int sign)
{
    uint16_t *used = &frametable.gib_used[section >> GIB_SHIFT];

    *used = (uint16_t)(*used + sign * (1 << (order - ORDER_2M)));
}

static void count_move(enum frame_state from, enum frame_state to, unsigned int order)
{
    frametable.count[from] -= BIT(order);
    frametable.count[to] += BIT(order);
}

static void preserved_add(struct split *split, enum frame_state state, int frames)
{
    if (!frame_state_preserved(state) || frames == 0) {
        return;
    }
    bool was = split->preserved != 0;
    split->preserved = (uint16_t)(split->preserved + frames);
    if (was != (split->preserved != 0)) {
        frametable.split_preserved = was ? frametable.split_preserved - 1
                                         : frametable.split_preserved + 1;
    }
}

void frametable_put_locked(mfn_t mfn, unsigned int order, enum frame_state state, uint16_t owner)
{
    uint32_t section = mfn_section(mfn);
    struct section *e = &frametable.sections[section];

    BUG_ON(!spin_is_locked(&heap_lock));
    count_move(FRAME_NONE, state, order);
    if (order >= ORDER_2M) {
        BUG_ON(e->state != FRAME_NONE);
        *e = (struct section){.state = (uint8_t)state, .order = (uint8_t)order, .owner = owner};
        gib_used_add(section, order, 1);
        return;
    }
    BUG_ON(e->state != SECTION_SPLIT);
    struct split *split = e->split;
    if (state == FRAME_FREE) {
        free_map_set(split, free_map_bit(mfn_in_section(mfn), order));
        split->free = (uint16_t)(split->free + (1U << order));
        return;
    }
    struct page_entry *page = &split->pages[mfn_in_section(mfn)];
    BUG_ON(page->state != FRAME_NONE);
    *page = (struct page_entry){.state = (uint8_t)state, .order = (uint8_t)order, .owner = owner};
    split->used = (uint16_t)(split->used + (1U << order));
    preserved_add(split, state, 1 << order);
}

void frametable_count_claimed_locked(struct split *split, enum frame_state state, uint64_t frames)
{
    frametable.count[FRAME_NONE] -= frames;
    frametable.count[state] += frames;
    split->used = (uint16_t)(split->used + frames);
    preserved_add(split, state, (int)frames);
}

void frametable_take_locked(mfn_t mfn, unsigned int order)
{
    uint32_t section = mfn_section(mfn);
    struct section *e = &frametable.sections[section];

    BUG_ON(!spin_is_locked(&heap_lock));
    if (order >= ORDER_2M) {
        BUG_ON(e->state == FRAME_NONE || e->state == SECTION_SPLIT || e->order != order);
        count_move((enum frame_state)e->state, FRAME_NONE, order);
        *e = (struct section){.state = FRAME_NONE};
        gib_used_add(section, order, -1);
        return;
    }
    BUG_ON(e->state != SECTION_SPLIT);
    struct split *split = e->split;
    unsigned int bit = free_map_bit(mfn_in_section(mfn), order);
    if (free_map_test(split, bit)) {
        free_map_clear(split, bit);
        split->free = (uint16_t)(split->free - (1U << order));
        count_move(FRAME_FREE, FRAME_NONE, order);
        return;
    }
    struct page_entry *page = &split->pages[mfn_in_section(mfn)];
    BUG_ON(page->state == FRAME_NONE || page->order != order);
    enum frame_state state = (enum frame_state)page->state;
    count_move(state, FRAME_NONE, order);
    split->used = (uint16_t)(split->used - (1U << order));
    preserved_add(split, state, -(1 << order));
    *page = (struct page_entry){.state = FRAME_NONE};
}

bool frametable_split_locked(uint32_t section, void *page)
{
    struct section *e = &frametable.sections[section];
    struct split *split = page != NULL ? page : pool_alloc_arena();

    BUG_ON(e->state != FRAME_NONE);
    if (split == NULL) {
        return false;
    }
    memset(split, 0, sizeof(*split));
    split->list = NO_LIST;
    *e = (struct section){.state = SECTION_SPLIT, .order = ORDER_2M};
    e->split = split;
    gib_used_add(section, ORDER_2M, 1);
    return true;
}

void *frametable_unsplit_locked(uint32_t section)
{
    struct section *e = &frametable.sections[section];
    struct split *split = e->split;

    BUG_ON(e->state != SECTION_SPLIT || split->used != 0 || split->free != 0);
    BUG_ON(split->list != NO_LIST);
    *e = (struct section){.state = FRAME_NONE};
    gib_used_add(section, ORDER_2M, -1);
    return split;
}

/* Drops the table of a section when nothing is in it any more. */
static void unsplit_if_blank(uint32_t section)
{
    const struct section *e = &frametable.sections[section];

    if (e->state == SECTION_SPLIT && e->split->used == 0 && e->split->free == 0) {
        buddy_free_table_locked(frametable_unsplit_locked(section));
    }
}

/*
 * Why a block that is not blank cannot be had. The region is told from the rest, so that preserved
 * memory inside it is named as what it is: a mistake that no retry cures.
 */
static int conflict(mfn_t mfn, unsigned int order, enum frame_state state)
{
    uint64_t end = mfn.v + BIT(order);

    for (uint64_t pos = mfn.v; frame_state_preserved(state) && pos < end;) {
        struct frame_info info = frametable_block_locked(mfn_from(pos));

        if (info.state == FRAME_REGION) {
            return -EPERM;
        }
        pos = info.head.v + BIT(info.order);
    }
    return -EBUSY;
}

/* Gets everything ready so that frametable_put_locked() of the block cannot fail. */
static int claim_prepare(mfn_t mfn, unsigned int order, enum frame_state state)
{
    uint32_t section = mfn_section(mfn);

    if (!block_blank(mfn, order)) {
        return conflict(mfn, order, state);
    }
    if (order >= ORDER_2M || frametable.sections[section].state == SECTION_SPLIT) {
        return 0;
    }
    if (frametable_split_locked(section, NULL)) {
        return 0;
    }
    mfn_t table = buddy_alloc_table_locked();
    if (!mfn_valid(table)) {
        return -ENOMEM;
    }
    return frametable_split_locked(section, mfn_to_va(table)) ? 0 : -ENOMEM;
}

static bool claim_state_ok(enum frame_state state)
{
    return state > FRAME_FREE && state < FRAME_STATES;
}

int frametable_claim_locked(mfn_t mfn, unsigned int order, enum frame_state state, uint16_t owner)
{
    if (order > MAX_ORDER || !is_aligned(mfn.v, BIT(order)) || !claim_state_ok(state) ||
        mfn.v >= BIT(40) ||
        !e820_is_ram(&frametable.map, mfn_to_pa(mfn), mfn_to_pa(mfn_from(mfn.v + BIT(order))))) {
        return -EINVAL;
    }
    int rc = claim_prepare(mfn, order, state);
    if (rc == 0) {
        frametable_put_locked(mfn, order, state, owner);
    }
    return rc;
}

int frametable_claim(mfn_t mfn, unsigned int order, enum frame_state state, uint16_t owner)
{
    spin_lock(&heap_lock);
    int rc = frametable_claim_locked(mfn, order, state, owner);
    spin_unlock(&heap_lock);
    return rc;
}

/*
 * One pass over [pos, end), all RAM: prepares every block of the range, or (commit) puts it. Both
 * passes choose the same blocks, because a block's choice depends only on what lies inside it.
 * Bad frames stay bad when the range is to be bad, or part of the region.
 */
static int claim_pass(uint64_t pos, uint64_t end, enum frame_state state, uint16_t owner,
                      bool commit)
{
    bool skip_bad = state == FRAME_BAD || state == FRAME_REGION;

    while (pos < end) {
        unsigned int order = block_largest_order(pos, end, MAX_ORDER);

        if (skip_bad) {
            struct frame_info info = frametable_block_locked(mfn_from(pos));

            if (info.state == FRAME_BAD) {
                pos = info.head.v + BIT(info.order);
                continue;
            }
            while (order > 0 && !block_blank(mfn_from(pos), order)) {
                order--;
            }
        }
        if (commit) {
            frametable_put_locked(mfn_from(pos), order, state, owner);
        } else {
            int rc = claim_prepare(mfn_from(pos), order, state);

            if (rc != 0) {
                return rc;
            }
        }
        pos += BIT(order);
    }
    return 0;
}

/* Runs a pass over the RAM in [start, end). */
static int claim_ram_pass(mfn_t start, mfn_t end, enum frame_state state, uint16_t owner,
                          bool commit)
{
    paddr_t pa = mfn_to_pa(start);
    paddr_t ram_start;
    paddr_t ram_end;

    while (e820_next_ram(&frametable.map, pa, &ram_start, &ram_end) && ram_start < mfn_to_pa(end)) {
        int rc = claim_pass(ram_start >> PAGE_SHIFT, MIN(ram_end >> PAGE_SHIFT, end.v), state,
                            owner, commit);

        if (rc != 0) {
            return rc;
        }
        pa = ram_end;
    }
    return 0;
}

int frametable_claim_range(mfn_t start, mfn_t end, enum frame_state state, uint16_t owner)
{
    if (start.v >= end.v || end.v > BIT(40) || !claim_state_ok(state) ||
        (state != FRAME_BAD && !e820_is_ram(&frametable.map, mfn_to_pa(start), mfn_to_pa(end)))) {
        return -EINVAL;
    }
    spin_lock(&heap_lock);
    int rc = claim_ram_pass(start, end, state, owner, false);
    if (rc == 0) {
        rc = claim_ram_pass(start, end, state, owner, true);
        BUG_ON(rc != 0);
    } else {
        /* All that the first pass changes is that it splits sections. */
        uint64_t last = MIN((end.v - 1) >> ORDER_2M, (uint64_t)frametable.nr_sections - 1);
        for (uint64_t s = start.v >> ORDER_2M; s <= last; s++) {
            unsplit_if_blank((uint32_t)s);
        }
    }
    spin_unlock(&heap_lock);
    return rc;
}

void frametable_unclaim(mfn_t mfn, unsigned int order)
{
    spin_lock(&heap_lock);
    struct frame_info info = frametable_block_locked(mfn);
    BUG_ON(info.state <= FRAME_FREE || info.head.v != mfn.v || info.order != order);
    BUG_ON(mfn_section(mfn) < buddy_opened_up_to_locked());
    frametable_take_locked(mfn, order);
    unsplit_if_blank(mfn_section(mfn));
    spin_unlock(&heap_lock);
}

struct frame_info frametable_get(mfn_t mfn)
{
    spin_lock(&heap_lock);
    struct frame_info info = frametable_block_locked(mfn);
    spin_unlock(&heap_lock);
    if (info.state == FRAME_NONE) {
        info.order = ORDER_4K;
        info.head = mfn;
    }
    return info;
}

uint64_t frametable_count(enum frame_state state)
{
    spin_lock(&heap_lock);
    uint64_t count = state < FRAME_STATES ? frametable.count[state] : 0;
    spin_unlock(&heap_lock);
    return count;
}

void frametable_walk(uint64_t out[FRAME_STATES])
{
    memset(out, 0, FRAME_STATES * sizeof(out[0]));
    spin_lock(&heap_lock);
    for (size_t i = 0; i < frametable.map.nr; i++) {
        const struct e820_range *r = &frametable.map.ranges[i];

        if (r->type != E820_RAM) {
            continue;
        }
        for (uint64_t pos = r->start >> PAGE_SHIFT; pos < r->end >> PAGE_SHIFT;) {
            struct frame_info info = frametable_block_locked(mfn_from(pos));
            uint64_t end = MIN(info.head.v + BIT(info.order), r->end >> PAGE_SHIFT);

            out[info.state] += end - pos;
            pos = end;
        }
    }
    spin_unlock(&heap_lock);
}

uint64_t frametable_split_preserved(void)
{
    spin_lock(&heap_lock);
    uint64_t sections = frametable.split_preserved;
    spin_unlock(&heap_lock);
    return sections;
}
