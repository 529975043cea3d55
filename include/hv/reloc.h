/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relocation list: what the relocator does once nothing else of the old image runs.
 *
 * A list of 64-bit entries in pages outside the destination; the low three bits are the tag, the
 * rest an address. DESTINATION sets the cursor; SOURCE copies a page to the cursor and advances it;
 * ZERO clears a page there and advances; WRITE64 stores the following entry (a plain value) at its
 * 8-byte-aligned address; INDIRECTION continues in another list page; DONE ends.
 */
#ifndef HV_RELOC_H
#define HV_RELOC_H

#include "hv/compiler.h"
#include "hv/types.h"

#define RELOC_DESTINATION 1U
#define RELOC_INDIRECTION 2U
#define RELOC_SOURCE 3U
#define RELOC_ZERO 4U
#define RELOC_WRITE64 5U
#define RELOC_DONE 6U
#define RELOC_TAG_MASK 7U

struct reloc_list {
    LAYOUT(paddr_t head_pa; uint64_t *page; uint64_t pages; /* its own, and SOURCE */
           , size_t used; paddr_t cursor; int error;)
};

/* List pages come from buddy_alloc(0, FRAME_IMAGE): outside both arenas. Errors stick. reloc_copy()
 * takes the source page over in every case: when it cannot be listed, it is freed at once. */
void reloc_init(struct reloc_list *list);
void reloc_copy(struct reloc_list *list, paddr_t dst_pa, paddr_t src_pa); /* one page */
void reloc_zero(struct reloc_list *list, paddr_t dst_pa);                 /* one page */
void reloc_write64(struct reloc_list *list, paddr_t dst_pa, uint64_t value);

/* Ends the list. 0 or the first error (-ENOMEM). What is added later overwrites the end, so that
 * reloc_done() is due again. */
MUST_CHECK int reloc_done(struct reloc_list *list);

/* Forgets everything behind `mark` (a copy of the list taken earlier) and frees those pages. */
void reloc_truncate(struct reloc_list *list, const struct reloc_list *mark);

/* Frees the list's pages and its SOURCE pages (FRAME_IMAGE). */
void reloc_free(struct reloc_list *list);

/*
 * The loop itself (arch/x86_64/relocator.asm): position-independent, no stack use beyond its return
 * address, no writes but the list's. Addresses are used as they stand, so the caller has an
 * identity mapping; host tests pass ordinary addresses. Returns 0, or the offending entry when a
 * tag is unknown.
 */
uint64_t relocate_pages(const uint64_t *list);

#endif
