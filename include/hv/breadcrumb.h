/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breadcrumb: the pointer that the old image leaves and the new one finds.
 */
#ifndef HV_BREADCRUMB_H
#define HV_BREADCRUMB_H

#include "hv/compiler.h"
#include "hv/reloc.h"
#include "public/lu_abi.h"

/* Prepares the handover page for a jump: magic, stage, no breadcrumb yet. The stamps stay: the
 * first of them is taken earlier; and where the flight recorder lies. */
void breadcrumb_reset(struct lu_handover *page);

/* Appends to the relocation list the writes that leave the breadcrumb, magic last. page_pa: where
 * the handover page lies. nonce is not 0. 0 or -ENOMEM. */
MUST_CHECK int breadcrumb_emit(struct reloc_list *list, paddr_t page_pa, paddr_t mfn_list_pa,
                               uint64_t stream_pages, uint64_t nonce);

/* New side: 0 and a copy in *out; -ENOENT (no breadcrumb, or a stale one: *why says which). A nonce
 * of 0 (none on the command line) matches nothing. */
MUST_CHECK int breadcrumb_find(const struct lu_handover *page, uint64_t nonce,
                               struct lu_breadcrumb *out, const char **why);

/* Makes sure that the breadcrumb is never taken again. */
void breadcrumb_clear(struct lu_handover *page);

#endif
