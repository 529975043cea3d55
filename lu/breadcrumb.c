/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The breadcrumb in the handover page.
 *
 * RAM survives a reset, so whatever is found there may be years old: it counts only with the magic,
 * a check field that fits, and the nonce that the old image put on this image's command line.
 * Host test: tests/host/test_breadcrumb.c
 */
#include "hv/breadcrumb.h"

#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/printk.h"
#include "hv/string.h"

#define HANDOVER_VERSION 1U

/* The relocator writes version and stage as one 64-bit word, version in the low half. */
_Static_assert(offsetof(struct lu_handover, version) % 8 == 0, "version starts the word");
_Static_assert(offsetof(struct lu_handover, stage) == offsetof(struct lu_handover, version) + 4,
               "stage is its high half");

/* The summed fields lie side by side between magic and check. */
#define SUMMED_START offsetof(struct lu_breadcrumb, mfn_list_pa)
#define SUMMED_BYTES (offsetof(struct lu_breadcrumb, check) - SUMMED_START)
_Static_assert(SUMMED_BYTES == 3 * sizeof(uint64_t), "three fields");

static uint64_t breadcrumb_check(const struct lu_breadcrumb *b)
{
    return crc32c(0, (const uint8_t *)b + SUMMED_START, SUMMED_BYTES);
}

void breadcrumb_reset(struct lu_handover *page)
{
    breadcrumb_clear(page);
    memset(page->back, 0, sizeof(page->back));
    memset(page->reserved, 0, sizeof(page->reserved));
    page->version = HANDOVER_VERSION;
    page->stage = LU_STAGE_NONE;
    page->magic = LU_HANDOVER_MAGIC;
}

int breadcrumb_emit(struct reloc_list *list, paddr_t page_pa, paddr_t mfn_list_pa,
                    uint64_t stream_pages, uint64_t nonce)
{
    paddr_t at = page_pa + offsetof(struct lu_handover, breadcrumb);
    struct lu_breadcrumb b = {
        .magic = LU_BREADCRUMB_MAGIC,
        .mfn_list_pa = mfn_list_pa,
        .stream_pages = stream_pages,
        .nonce = nonce,
    };

    BUG_ON(nonce == 0);
    b.check = breadcrumb_check(&b);
    reloc_write64(list, page_pa + offsetof(struct lu_handover, version),
                  HANDOVER_VERSION | (uint64_t)LU_STAGE_JUMPED << 32);
    reloc_write64(list, at + offsetof(struct lu_breadcrumb, mfn_list_pa), b.mfn_list_pa);
    reloc_write64(list, at + offsetof(struct lu_breadcrumb, stream_pages), b.stream_pages);
    reloc_write64(list, at + offsetof(struct lu_breadcrumb, nonce), b.nonce);
    reloc_write64(list, at + offsetof(struct lu_breadcrumb, check), b.check);
    reloc_write64(list, at + offsetof(struct lu_breadcrumb, magic), b.magic);
    return list->error;
}

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -ENOENT;
}

int breadcrumb_find(const struct lu_handover *page, uint64_t nonce, struct lu_breadcrumb *out,
                    const char **why)
{
    struct lu_breadcrumb b = page->breadcrumb;

    if (page->magic != LU_HANDOVER_MAGIC || b.magic != LU_BREADCRUMB_MAGIC) {
        return refuse(why, "breadcrumb: none (no magic)");
    }
    if (page->version != HANDOVER_VERSION) {
        return refuse(why, "breadcrumb: handover page of an unknown version");
    }
    if (b.check != breadcrumb_check(&b)) {
        return refuse(why, "breadcrumb: check field is wrong");
    }
    if (nonce == 0 || b.nonce != nonce) {
        return refuse(why, "breadcrumb: stale (wrong nonce)");
    }
    *out = b;
    return 0;
}

void breadcrumb_clear(struct lu_handover *page)
{
    /* The magic goes first and for good: a reset may come between any two writes. */
    __atomic_store_n(&page->breadcrumb.magic, 0, __ATOMIC_SEQ_CST);
    memset(&page->breadcrumb, 0, sizeof(page->breadcrumb));
}
