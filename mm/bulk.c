/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many blocks at once: what an update says of guests' memory, claimed or compared with the table.
 *
 * Inside the pause, and for each extent: so blocks that lie side by side in one split section are
 * dealt with in a run, with one look at what does not change from one to the next.
 *
 * Lock: heap_lock.  Host test: tests/host/test_bulk.c
 */
#include "audit_priv.h"
#include "frametable_priv.h"
#include "hv/string.h"

/* Where RAM that reaches up to `pos` goes on to, at most to the end of that section. */
static uint64_t run_limit(uint64_t pos)
{
    uint64_t section_end = align_down(pos - 1, SECTION_FRAMES) + SECTION_FRAMES;
    paddr_t start, end;

    if (!e820_next_ram(&frametable.map, (pos - 1) << PAGE_SHIFT, &start, &end)) {
        return pos;
    }
    return MIN(section_end, end >> PAGE_SHIFT);
}

static bool entries_blank(const struct page_entry *page, uint64_t n)
{
    return n == 1 ? page->state == FRAME_NONE : mem_is_zero(page, n * sizeof(*page));
}

/*
 * Claims the blocks that follow one another from `pos` on, where a block of a split section ends
 * that has just been claimed: a block that holds one of them would hold that one too, so only the
 * blocks' own entries have to be blank. Returns how many.
 */
static size_t claim_behind(const struct lu_extent *e, size_t nr, uint64_t pos,
                           const struct page_entry *like)
{
    struct section *section = &frametable.sections[(pos - 1) >> ORDER_2M];
    uint64_t start = pos, limit;
    size_t n = 0;

    if (nr == 0 || e->mfn != pos || section->state != SECTION_SPLIT || section->split->free != 0) {
        return 0;
    }
    limit = run_limit(pos);
    for (; n < nr && e[n].mfn == pos && e[n].order < ORDER_2M; n++) {
        struct page_entry *page = &section->split->pages[pos & (SECTION_FRAMES - 1)];
        uint64_t frames = BIT(e[n].order);

        if (!is_aligned(pos, frames) || pos + frames > limit || !entries_blank(page, frames)) {
            break;
        }
        *page = *like;
        page->order = (uint8_t)e[n].order;
        pos += frames;
    }
    frametable_count_claimed_locked(section->split, (enum frame_state)like->state, pos - start);
    return n;
}

size_t frametable_claim_extents(const struct lu_extent *e, size_t nr, uint16_t owner, int *rc)
{
    const struct page_entry like = {.state = FRAME_GUEST, .owner = owner};
    size_t n = 0;

    *rc = 0;
    spin_lock(&heap_lock);
    while (n < nr) {
        *rc = frametable_claim_locked(mfn_from(e[n].mfn), e[n].order, FRAME_GUEST, owner);
        if (*rc != 0) {
            break;
        }
        uint64_t end = e[n].mfn + BIT(e[n].order);
        bool whole = e[n].order >= ORDER_2M;

        n++;
        n += whole ? 0 : claim_behind(e + n, nr - n, end, &like);
    }
    spin_unlock(&heap_lock);
    return n;
}

size_t audit_name_extents(const struct lu_extent *e, size_t nr, uint16_t owner)
{
    size_t n = 0;

    spin_lock(&heap_lock);
    while (n < nr &&
           audit_name_locked(mfn_from(e[n].mfn), e[n].order, FRAME_GUEST, owner) == AUDIT_AGREES) {
        n++;
    }
    spin_unlock(&heap_lock);
    return n;
}
