/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the frametable, shared by frametable.c (who owns what) and buddy.c (what is free).
 *
 * A block of order >= ORDER_2M: its first section's entry is set, the entries of its other sections
 * are FRAME_NONE. A section in SECTION_SPLIT has a table of its own, one page:
 *  - a used block: the entry of its first frame is set, the entries of its other frames are not;
 *  - a free block: one bit in free_map, and no entry at all.
 * What is neither is blank: RAM not opened yet, or no RAM.
 * A split section is never wholly blank, and never wholly free.
 */
#ifndef MM_FRAMETABLE_PRIV_H
#define MM_FRAMETABLE_PRIV_H

#include "hv/frametable.h"
#include "hv/spinlock.h"

#define SECTION_FRAMES BIT(ORDER_2M)
#define GIB_SECTIONS BIT(ORDER_1G - ORDER_2M)
#define GIB_SHIFT (ORDER_1G - ORDER_2M)
#define SECTION_SPLIT FRAME_STATES /* one more state, of section entries only */
#define NO_SECTION UINT32_MAX
#define NO_LIST 0xffU

/* A frame number of 40 bits (52-bit addresses) gives a section number of 31 bits. */
struct links {
    uint32_t next;
    uint32_t prev;
};

struct page_entry {
    LAYOUT_TIGHT(uint16_t owner;, uint8_t state; uint8_t order;)
};

/*
 * Table of a split section. free_map is a tree: bit 1 is the section, bits 2b and 2b + 1 are the
 * halves of bit b, bits 512..1023 are the frames. A set bit is a free block, and then no bit above
 * or below it is set, nor that of its buddy. So bit 1 is never set: such a section is not split.
 */
struct split {
    LAYOUT(struct page_entry pages[SECTION_FRAMES];, uint64_t free_map[16]; struct links links;)
    uint16_t used;      /* frames in used blocks */
    uint16_t free;      /* frames in free blocks */
    uint16_t preserved; /* frames in used blocks of preserved kinds */
    uint8_t list;       /* free list that the section is in, NO_LIST when in none */
    bool self_hosted;   /* this table lies in the section itself, in a used block of one frame */
    /* The blocks that somebody named in the audit of this number. */
    uint64_t named[SECTION_FRAMES / 64];
    uint32_t named_number;
};

struct section {
    LAYOUT_TIGHT(
        union {
            struct links links;  /* FRAME_FREE: neighbours in the free list */
            struct split *split; /* SECTION_SPLIT */
        };
    , uint16_t owner; uint8_t state; uint8_t order;
      uint32_t named; /* the audit in which somebody last named the block, or the section, here */)
};

_Static_assert(FRAME_NONE == 0, "a table of zeros is blank");
_Static_assert(sizeof(struct page_entry) == 4, "page entries are small");
_Static_assert(sizeof(struct split) <= PAGE_SIZE, "one page holds the table of a section");
_Static_assert(sizeof(struct section) == 16, "one TiB costs 8 MiB");

struct frametable {
    LAYOUT(struct section *sections; uint16_t *gib_used; /* sections not blank, per GiB */
    , struct e820 map; uint32_t nr_sections;)
    uint64_t count[FRAME_STATES];
    uint64_t split_preserved;
};

extern struct frametable frametable;
extern struct spinlock heap_lock;

static inline uint32_t mfn_section(mfn_t mfn)
{
    return (uint32_t)(mfn.v >> ORDER_2M);
}

static inline unsigned int mfn_in_section(mfn_t mfn)
{
    return (unsigned int)(mfn.v & (SECTION_FRAMES - 1));
}

static inline mfn_t section_mfn(uint32_t section)
{
    return mfn_from((uint64_t)section << ORDER_2M);
}

/* Bit of free_map for the block of 2^order frames at frame `index` of a section. */
static inline unsigned int free_map_bit(unsigned int index, unsigned int order)
{
    return (unsigned int)((SECTION_FRAMES + index) >> order);
}

static inline bool free_map_test(const struct split *split, unsigned int bit)
{
    return (split->free_map[bit / 64] & BIT(bit % 64)) != 0;
}

static inline void free_map_set(struct split *split, unsigned int bit)
{
    split->free_map[bit / 64] |= BIT(bit % 64);
}

static inline void free_map_clear(struct split *split, unsigned int bit)
{
    split->free_map[bit / 64] &= ~BIT(bit % 64);
}

/* Largest order, at most `max`, of a block that starts at pos and does not reach beyond end. */
static inline unsigned int block_largest_order(uint64_t pos, uint64_t end, unsigned int max)
{
    unsigned int order = 0;

    while (order < max && is_aligned(pos, BIT(order + 1)) && pos + BIT(order + 1) <= end) {
        order++;
    }
    return order;
}

/*
 * The block that holds a frame. Blank: FRAME_NONE and the largest aligned piece known to be blank
 * by one look (a GiB, a section, a frame); it may reach beyond the table.
 */
struct frame_info frametable_block_locked(mfn_t mfn);

/*
 * Turns a wholly blank block into one in `state`, and back. Below ORDER_2M the section must be
 * split. A free block gets its map bit, but merging and the free lists are buddy.c's.
 */
void frametable_put_locked(mfn_t mfn, unsigned int order, enum frame_state state, uint16_t owner);
void frametable_take_locked(mfn_t mfn, unsigned int order);

/* frametable_claim(). */
MUST_CHECK int frametable_claim_locked(mfn_t mfn, unsigned int order, enum frame_state state,
                                       uint16_t owner);

/* Counts frames of a split section as claimed, whose page entries have been set. */
void frametable_count_claimed_locked(struct split *split, enum frame_state state, uint64_t frames);

/* Gives a blank section a table, which is `page`, or if that is NULL a page from the arena. False
 * when there is none. */
bool frametable_split_locked(uint32_t section, void *page);

/* Makes a split section, all of whose frames are blank, an ordinary one again. Returns its table,
 * which the caller gives back. */
void *frametable_unsplit_locked(uint32_t section);

/* buddy.c: a frame for a table of the frametable, from the part of the heap that is open. */
mfn_t buddy_alloc_table_locked(void);
void buddy_free_table_locked(void *page);

/* buddy.c: the first section in a free list, NO_SECTION when there is none; and whether the heap
 * takes the list for empty. */
uint32_t buddy_list_locked(unsigned int list, bool *nonempty);

/* buddy.c: the heap has been opened up to this section (exclusive). */
uint32_t buddy_opened_up_to_locked(void);

#endif
