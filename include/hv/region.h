/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live-update region: handover page and two arenas, below 4 GiB, reserved by liveupdate=.
 *
 * [base, base + 4 KiB) handover page; arena A up to base + size/2; arena B the second half.
 */
#ifndef HV_REGION_H
#define HV_REGION_H

#include "hv/mb2.h"
#include "hv/types.h"

#define REGION_ALIGN MIB(2)
#define REGION_MIN MIB(8)

struct lu_region {
    paddr_t base;
    uint64_t size;
};

static inline paddr_t region_arena_start(const struct lu_region *r, unsigned int arena)
{
    return arena == 0 ? r->base + PAGE_SIZE : r->base + r->size / 2;
}

static inline paddr_t region_arena_end(const struct lu_region *r, unsigned int arena)
{
    return arena == 0 ? r->base + r->size / 2 : r->base + r->size;
}

/* Default size for RAM up to ram_end: two images, two section tables, page tables and room. */
uint64_t region_default_size(paddr_t ram_end);

/*
 * Finds where the region is, or may go. With liveupdate=SIZE@BASE exactly there; with SIZE or
 * nothing, the highest fitting place below 4 GiB that is RAM, holds no bad page, and keeps clear of
 * modules and of [keep_start, keep_end) (the running image) and the boot information. Returns 0;
 * -EINVAL (malformed option, alignment, size below REGION_MIN, above 4 GiB, not RAM, overlaps a
 * module) or -ENOSPC (no place), with *why.
 */
MUST_CHECK int region_find(const struct boot_info *info, paddr_t info_pa, paddr_t keep_start,
                           paddr_t keep_end, struct lu_region *out, const char **why);

/* The smallest region whose arenas both have `arena_bytes`; 0 when there is none below 4 GiB. */
uint64_t region_size_for(uint64_t arena_bytes);

/* First page-aligned run of `bytes` in [start, end) without bad frame; 0 when there is none. */
paddr_t region_fit(const char *cmdline, paddr_t start, paddr_t end, uint64_t bytes);

#endif
