/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building relocation lists.
 *
 * Invariant: a list page always has one entry left, for the INDIRECTION to the next page or for
 * DONE; a WRITE64 and its value lie in one page.
 * Host test: tests/host/test_reloc.c
 */
#include "hv/reloc.h"

#include "hv/buddy.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/seam.h"

#define PAGE_ENTRIES (PAGE_SIZE / sizeof(uint64_t))

#define NO_CURSOR UINT64_MAX /* not an address that a page could have */

static uint64_t *page_at(paddr_t pa)
{
    return mfn_to_va(pa_to_mfn(pa));
}

void reloc_init(struct reloc_list *list)
{
    *list = (struct reloc_list){.cursor = NO_CURSOR};
}

/* Makes room for n entries and the one behind them. False with the error noted. */
static bool reserve(struct reloc_list *list, size_t n)
{
    mfn_t mfn;

    if (list->error != 0) {
        return false;
    }
    if (list->page != NULL && list->used + n < PAGE_ENTRIES) {
        return true;
    }
    mfn = buddy_alloc(ORDER_4K, FRAME_IMAGE, OWNER_NONE);
    if (!mfn_valid(mfn)) {
        list->error = -ENOMEM;
        return false;
    }
    if (list->page == NULL) {
        list->head_pa = mfn_to_pa(mfn);
    } else {
        list->page[list->used] = mfn_to_pa(mfn) | RELOC_INDIRECTION;
    }
    list->page = mfn_to_va(mfn);
    list->used = 0;
    list->pages++;
    return true;
}

/* A one-page operation at dst_pa; false when it could not be listed. */
static bool page_entry(struct reloc_list *list, paddr_t dst_pa, uint64_t entry)
{
    size_t need = list->cursor == dst_pa ? 1 : 2;

    BUG_ON(!is_aligned(dst_pa, PAGE_SIZE));
    if (!reserve(list, need)) {
        return false;
    }
    if (need == 2) {
        list->page[list->used++] = dst_pa | RELOC_DESTINATION;
    }
    list->page[list->used++] = entry;
    list->cursor = dst_pa + PAGE_SIZE;
    return true;
}

void reloc_copy(struct reloc_list *list, paddr_t dst_pa, paddr_t src_pa)
{
    BUG_ON(!is_aligned(src_pa, PAGE_SIZE));
    if (page_entry(list, dst_pa, src_pa | RELOC_SOURCE)) {
        list->pages++;
    } else {
        buddy_free(pa_to_mfn(src_pa), ORDER_4K);
    }
}

void reloc_zero(struct reloc_list *list, paddr_t dst_pa)
{
    (void)page_entry(list, dst_pa, RELOC_ZERO);
}

void reloc_write64(struct reloc_list *list, paddr_t dst_pa, uint64_t value)
{
    BUG_ON(!is_aligned(dst_pa, 8));
    if (reserve(list, 2)) {
        list->page[list->used++] = dst_pa | RELOC_WRITE64;
        list->page[list->used++] = value;
    }
}

int reloc_done(struct reloc_list *list)
{
    if (reserve(list, 0)) {
        list->page[list->used] = RELOC_DONE;
    }
    return list->error;
}

/*
 * Frees the SOURCE pages that entries from page[i] on name, and the list pages behind `page`. The
 * list's end is where entries are added, not DONE: a list that failed half-way has none.
 */
static void release_from(const struct reloc_list *list, uint64_t *page, size_t i)
{
    bool behind = false;

    while (page != list->page || i != list->used) {
        uint64_t entry = page[i++];
        paddr_t pa = entry & ~(uint64_t)RELOC_TAG_MASK;

        switch (entry & RELOC_TAG_MASK) {
        case RELOC_SOURCE:
            buddy_free(pa_to_mfn(pa), ORDER_4K);
            break;
        case RELOC_WRITE64:
            i++;
            break;
        case RELOC_INDIRECTION:
            if (behind) {
                buddy_free(va_to_mfn(page), ORDER_4K);
            }
            behind = true;
            page = page_at(pa);
            i = 0;
            break;
        default:
            break;
        }
    }
    if (behind) {
        buddy_free(va_to_mfn(page), ORDER_4K);
    }
}

void reloc_truncate(struct reloc_list *list, const struct reloc_list *mark)
{
    if (mark->page == NULL) {
        reloc_free(list);
        return;
    }
    release_from(list, mark->page, mark->used);
    *list = *mark;
    /* What stood here may have been the way to a page that is free now. */
    list->page[list->used] = RELOC_DONE;
}

void reloc_free(struct reloc_list *list)
{
    if (list->page != NULL) {
        release_from(list, page_at(list->head_pa), 0);
        buddy_free(pa_to_mfn(list->head_pa), ORDER_4K);
    }
    reloc_init(list);
}
