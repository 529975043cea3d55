/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heap: buddy allocator over the frametable.
 *
 * Free lists of orders >= ORDER_2M link the entries of free blocks. The lists below hold split
 * sections, each in the list of the largest free block inside it; which frames are free is in the
 * section's own map. So a small allocation goes to a section that is in pieces already, and there
 * takes the smallest block that will do.
 *
 * A section needs a table page when it is split. When the arena has none left, the first frame of
 * the section itself holds its table: splitting a free block never fails and never recurses.
 *
 * Owns: free lists.  Lock: heap_lock.  Host test: tests/host/test_buddy.c
 * Invariant: a free block's buddy of the same order is never free.
 */
#include "hv/buddy.h"

#include "frametable_priv.h"
#include "hv/boot_alloc.h"
#include "hv/fault.h"
#include "hv/printk.h"
#include "hv/seam.h"

/* Blocks opened at a time when an allocation finds the open part empty. */
#define DEMAND_BLOCKS 64U
/* Section entries looked at per block that a step may feed: bounds a step where little is free. */
#define LOOKS_PER_BLOCK 16U
/* What a section counts for that is opened frame by frame. */
#define SPLIT_LOOKS 16U

static struct {
    LAYOUT(uint32_t heads[MAX_ORDER + 1];, uint32_t nonempty; /* bit per list */
           uint32_t cursor; /* sections below are open */)
    bool started; /* opening has begun, so every claim of the boot has been made */
    bool opened;
} heap;

static struct links *links_of(uint32_t section)
{
    struct section *e = &frametable.sections[section];

    return e->state == SECTION_SPLIT ? &e->split->links : &e->links;
}

static void list_add(unsigned int list, uint32_t section)
{
    uint32_t first = heap.heads[list];

    *links_of(section) = (struct links){.next = first, .prev = NO_SECTION};
    if (first != NO_SECTION) {
        links_of(first)->prev = section;
    }
    heap.heads[list] = section;
    heap.nonempty |= 1U << list;
}

static void list_del(unsigned int list, uint32_t section)
{
    struct links *links = links_of(section);

    if (links->prev != NO_SECTION) {
        links_of(links->prev)->next = links->next;
    } else {
        BUG_ON(heap.heads[list] != section);
        heap.heads[list] = links->next;
    }
    if (links->next != NO_SECTION) {
        links_of(links->next)->prev = links->prev;
    }
    if (heap.heads[list] == NO_SECTION) {
        heap.nonempty &= ~(1U << list);
    }
}

static unsigned int bit_order(unsigned int bit)
{
    return ORDER_2M - (31U - (unsigned int)__builtin_clz(bit));
}

/* Largest free block of a split section, as a list number. The tree's top comes first in the map,
 * so the lowest bit set is a block of the largest order. */
static unsigned int map_largest(const struct split *split)
{
    for (unsigned int w = 0; w < ARRAY_SIZE(split->free_map); w++) {
        if (split->free_map[w] != 0) {
            return bit_order(w * 64 + (unsigned int)__builtin_ctzll(split->free_map[w]));
        }
    }
    return NO_LIST;
}

/* Map bit of a smallest free block of at least `order`; 0 when there is none. */
static unsigned int map_find(const struct split *split, unsigned int order)
{
    for (unsigned int o = order; o < ORDER_2M; o++) {
        unsigned int first = 1U << (ORDER_2M - o);

        if (first < 64) {
            uint64_t bits = split->free_map[0] & BITS(2 * first - 1, first);

            if (bits != 0) {
                return (unsigned int)__builtin_ctzll(bits);
            }
            continue;
        }
        for (unsigned int w = first / 64; w < 2 * first / 64; w++) {
            if (split->free_map[w] != 0) {
                return w * 64 + (unsigned int)__builtin_ctzll(split->free_map[w]);
            }
        }
    }
    return 0;
}

static mfn_t bit_mfn(uint32_t section, unsigned int bit)
{
    return mfn_from(section_mfn(section).v + ((uint64_t)bit << bit_order(bit)) - SECTION_FRAMES);
}

/* Puts a split section into the list of its largest free block. */
static void section_relist(uint32_t section)
{
    struct split *split = frametable.sections[section].split;
    unsigned int list = map_largest(split);

    if (split->list == list) {
        return;
    }
    if (split->list != NO_LIST) {
        list_del(split->list, section);
    }
    split->list = (uint8_t)list;
    if (list != NO_LIST) {
        list_add(list, section);
    }
}

/* Frees a blank block of whole sections, merged with its free buddies. */
static void section_put_free(uint32_t section, unsigned int order)
{
    while (order < MAX_ORDER) {
        uint32_t buddy = section ^ (1U << (order - ORDER_2M));

        if (buddy >= frametable.nr_sections || frametable.sections[buddy].state != FRAME_FREE ||
            frametable.sections[buddy].order != order) {
            break;
        }
        list_del(order, buddy);
        frametable_take_locked(section_mfn(buddy), order);
        section = MIN(section, buddy);
        order++;
    }
    frametable_put_locked(section_mfn(section), order, FRAME_FREE, OWNER_NONE);
    list_add(order, section);
}

/* The same inside a split section; section_settle() must follow. */
static void page_put_free(mfn_t mfn, unsigned int order)
{
    struct split *split = frametable.sections[mfn_section(mfn)].split;
    unsigned int bit = free_map_bit(mfn_in_section(mfn), order);

    frametable_put_locked(mfn, order, FRAME_FREE, OWNER_NONE);
    while (bit > 3 && free_map_test(split, bit ^ 1)) {
        free_map_clear(split, bit);
        free_map_clear(split, bit ^ 1);
        bit >>= 1;
        free_map_set(split, bit);
    }
}

static void run_put_free(uint64_t pos, uint64_t end)
{
    while (pos < end) {
        unsigned int order = block_largest_order(pos, end, ORDER_2M - 1);

        page_put_free(mfn_from(pos), order);
        pos += BIT(order);
    }
}

/*
 * Frees a split section as a whole when all of it is free, except perhaps for its own table.
 * Returns the table when that is a page elsewhere, which is then to be given back.
 */
static void *section_join(uint32_t section)
{
    struct split *split = frametable.sections[section].split;
    bool self_hosted = split->self_hosted;
    unsigned int bit;

    if (split->free + (self_hosted ? 1U : 0U) != SECTION_FRAMES) {
        section_relist(section);
        return NULL;
    }
    if (self_hosted) {
        frametable_take_locked(va_to_mfn(split), ORDER_4K);
    }
    while ((bit = map_find(split, ORDER_4K)) != 0) {
        frametable_take_locked(bit_mfn(section, bit), bit_order(bit));
    }
    section_relist(section);
    frametable_unsplit_locked(section);
    section_put_free(section, ORDER_2M);
    return self_hosted ? NULL : split;
}

/* After frees inside a split section. A table given back can make another section whole, whose
 * table ... so this is a loop, and no recursion. */
static void section_settle(uint32_t section)
{
    for (;;) {
        void *table = section_join(section);

        if (table == NULL || pool_free_arena(table)) {
            return;
        }
        mfn_t mfn = va_to_mfn(table);
        frametable_take_locked(mfn, ORDER_4K);
        page_put_free(mfn, ORDER_4K);
        section = mfn_section(mfn);
    }
}

/* Gives a blank section a table: from the arena, else in `host`, a blank frame of the section. */
static void section_split_at(uint32_t section, mfn_t host)
{
    if (frametable_split_locked(section, NULL)) {
        return;
    }
    frametable_split_locked(section, mfn_to_va(host));
    frametable.sections[section].split->self_hosted = true;
    frametable_put_locked(host, ORDER_4K, FRAME_IMAGE, OWNER_NONE);
}

/* Takes the first block of a list and halves it down to `order`, both >= ORDER_2M. The result is
 * blank. */
static uint32_t section_carve(unsigned int list, unsigned int order)
{
    uint32_t section = heap.heads[list];

    list_del(list, section);
    frametable_take_locked(section_mfn(section), list);
    while (list > order) {
        list--;
        uint32_t upper = section + (1U << (list - ORDER_2M));
        frametable_put_locked(section_mfn(upper), list, FRAME_FREE, OWNER_NONE);
        list_add(list, upper);
    }
    return section;
}

/* The same inside a split section that has a free block of at least `order`. */
static mfn_t page_carve(uint32_t section, unsigned int order)
{
    unsigned int bit = map_find(frametable.sections[section].split, order);

    BUG_ON(bit == 0);
    unsigned int o = bit_order(bit);
    mfn_t mfn = bit_mfn(section, bit);
    frametable_take_locked(mfn, o);
    while (o > order) {
        o--;
        frametable_put_locked(mfn_from(mfn.v + BIT(o)), o, FRAME_FREE, OWNER_NONE);
    }
    return mfn;
}

static mfn_t alloc_locked(unsigned int order, enum frame_state state, uint16_t owner)
{
    uint32_t lists = heap.nonempty & (~0U << order);

    if (lists == 0) {
        return INVALID_MFN;
    }
    unsigned int list = (unsigned int)__builtin_ctz(lists);
    uint32_t section = heap.heads[list];
    mfn_t mfn;

    if (order >= ORDER_2M) {
        mfn = section_mfn(section_carve(list, order));
        frametable_put_locked(mfn, order, state, owner);
        return mfn;
    }
    if (list >= ORDER_2M) {
        section = section_carve(list, ORDER_2M);
        mfn_t first = section_mfn(section);
        section_split_at(section, first);
        bool self_hosted = frametable.sections[section].split->self_hosted;
        run_put_free(first.v + (self_hosted ? 1 : 0), first.v + SECTION_FRAMES);
    }
    mfn = page_carve(section, order);
    frametable_put_locked(mfn, order, state, owner);
    section_relist(section);
    return mfn;
}

static void free_locked(mfn_t mfn, unsigned int order)
{
    frametable_take_locked(mfn, order);
    if (order >= ORDER_2M) {
        section_put_free(mfn_section(mfn), order);
        return;
    }
    page_put_free(mfn, order);
    section_settle(mfn_section(mfn));
}

mfn_t buddy_alloc_table_locked(void)
{
    return alloc_locked(ORDER_4K, FRAME_IMAGE, OWNER_NONE);
}

void buddy_free_table_locked(void *page)
{
    if (!pool_free_arena(page)) {
        free_locked(va_to_mfn(page), ORDER_4K);
    }
}

uint32_t buddy_list_locked(unsigned int list, bool *nonempty)
{
    *nonempty = (heap.nonempty & (1U << list)) != 0;
    return heap.heads[list];
}

uint32_t buddy_opened_up_to_locked(void)
{
    return heap.cursor;
}

/* For a frame that is not inside a block: whether no block starts there either. */
static bool frame_blank(const struct split *split, mfn_t mfn, bool any_free)
{
    return split->pages[mfn_in_section(mfn)].state == FRAME_NONE &&
           (!any_free || frametable_block_locked(mfn).state == FRAME_NONE);
}

/* Opens a section that is split or only partly RAM: feeds the blank runs of RAM in it. */
static void open_section(uint32_t section)
{
    const struct section *e = &frametable.sections[section];
    uint64_t section_end = section_mfn(section + 1).v;
    paddr_t pa = mfn_to_pa(section_mfn(section));
    paddr_t ram_start;
    paddr_t ram_end;

    /* Free blocks ahead of the opening are rare; without them a frame is told by its entry. */
    bool any_free = e->state == SECTION_SPLIT && e->split->free != 0;
    while (e820_next_ram(&frametable.map, pa, &ram_start, &ram_end) &&
           ram_start >> PAGE_SHIFT < section_end) {
        uint64_t end = MIN(ram_end >> PAGE_SHIFT, section_end);
        uint64_t pos = ram_start >> PAGE_SHIFT;

        if (e->state != SECTION_SPLIT) {
            section_split_at(section, mfn_from(pos));
        }
        while (pos < end) {
            uint64_t run = pos;

            while (pos < end && frame_blank(e->split, mfn_from(pos), any_free)) {
                pos++;
            }
            run_put_free(run, pos);
            if (pos < end) {
                struct frame_info info = frametable_block_locked(mfn_from(pos));
                pos = info.head.v + BIT(info.order);
            }
        }
        pa = end << PAGE_SHIFT;
    }
    section_settle(section);
}

/* Feeds blank sections from the cursor on, up to `end`; returns how many blocks. */
static unsigned int open_run(uint32_t end, unsigned int blocks)
{
    unsigned int fed = 0;

    while (heap.cursor < end && fed < blocks) {
        unsigned int order = block_largest_order((uint64_t)heap.cursor << ORDER_2M,
                                                 (uint64_t)end << ORDER_2M, MAX_ORDER);

        section_put_free(heap.cursor, order);
        heap.cursor += 1U << (order - ORDER_2M);
        fed++;
    }
    return fed;
}

/* End of the run of blank sections, all RAM, that starts at the cursor: within its GiB. */
static uint32_t blank_run_end(paddr_t ram_end)
{
    uint32_t gib_end = (heap.cursor | (uint32_t)(GIB_SECTIONS - 1)) + 1;
    uint32_t end = (uint32_t)MIN(ram_end >> (PAGE_SHIFT + ORDER_2M), gib_end);

    if (frametable.gib_used[heap.cursor >> GIB_SHIFT] == 0) {
        return end;
    }
    for (uint32_t s = heap.cursor; s < end; s++) {
        if (frametable.sections[s].state != FRAME_NONE) {
            return s;
        }
    }
    return end;
}

static void open_step_locked(unsigned int blocks)
{
    uint64_t looks = (uint64_t)blocks * LOOKS_PER_BLOCK;
    paddr_t ram_start;
    paddr_t ram_end;

    heap.started = true;
    while (!heap.opened && blocks > 0 && looks > 0) {
        looks--;
        if (!e820_next_ram(&frametable.map, mfn_to_pa(section_mfn(heap.cursor)), &ram_start,
                           &ram_end)) {
            heap.opened = true;
            break;
        }
        heap.cursor = (uint32_t)(ram_start >> (PAGE_SHIFT + ORDER_2M));
        struct frame_info info = frametable_block_locked(section_mfn(heap.cursor));
        uint8_t state = frametable.sections[heap.cursor].state;

        /* A block freed ahead of the cursor may have merged with one behind it: so its head. */
        if (state != SECTION_SPLIT && info.state != FRAME_NONE) {
            heap.cursor = mfn_section(mfn_from(info.head.v + BIT(info.order)));
            continue;
        }
        uint32_t end = blank_run_end(ram_end);
        if (state != SECTION_SPLIT && ram_start == mfn_to_pa(section_mfn(heap.cursor)) &&
            end > heap.cursor) {
            blocks -= open_run(end, blocks);
            continue;
        }
        open_section(heap.cursor);
        heap.cursor++;
        blocks--;
        looks -= MIN(looks, SPLIT_LOOKS);
    }
}

void buddy_init(void)
{
    for (unsigned int o = 0; o <= MAX_ORDER; o++) {
        heap.heads[o] = NO_SECTION;
    }
    heap.nonempty = 0;
    heap.cursor = 0;
    heap.started = false;
    heap.opened = false;
}

bool buddy_open_step(unsigned int blocks)
{
    spin_lock(&heap_lock);
    open_step_locked(blocks);
    bool opened = heap.opened;
    spin_unlock(&heap_lock);
    return opened;
}

bool buddy_opened(void)
{
    spin_lock(&heap_lock);
    bool opened = heap.opened;
    spin_unlock(&heap_lock);
    return opened;
}

mfn_t buddy_alloc(unsigned int order, enum frame_state state, uint16_t owner)
{
    if (order > MAX_ORDER || (state != FRAME_IMAGE && !frame_state_preserved(state)) ||
        FAULT_FAILS()) {
        return INVALID_MFN;
    }
    spin_lock(&heap_lock);
    mfn_t mfn = alloc_locked(order, state, owner);
    while (!mfn_valid(mfn) && heap.started && !heap.opened) {
        open_step_locked(DEMAND_BLOCKS);
        mfn = alloc_locked(order, state, owner);
    }
    spin_unlock(&heap_lock);
    return mfn;
}

void buddy_free(mfn_t mfn, unsigned int order)
{
    spin_lock(&heap_lock);
    struct frame_info info = frametable_block_locked(mfn);
    BUG_ON(info.head.v != mfn.v || info.order != order);
    BUG_ON(info.state != FRAME_IMAGE && !frame_state_preserved(info.state));
    free_locked(mfn, order);
    spin_unlock(&heap_lock);
}

uint64_t buddy_free_frames(void)
{
    return frametable_count(FRAME_FREE);
}

int buddy_largest_order(void)
{
    spin_lock(&heap_lock);
    uint32_t lists = heap.nonempty;
    spin_unlock(&heap_lock);
    return lists != 0 ? 31 - __builtin_clz(lists) : -1;
}

bool buddy_busy(void)
{
    return spin_is_locked(&heap_lock);
}
