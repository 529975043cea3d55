/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brings mm/ up on the fake machine, in the order of the real boot. Needs all of mm/ linked.
 */
#ifndef FAKES_MM_BOOT_H
#define FAKES_MM_BOOT_H

#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/frametable.h"
#include "hv/slab.h"
#include "hv/vmap.h"

#include "fakes/machine.h"

static inline paddr_t fake_no_bad(paddr_t start, paddr_t end)
{
    (void)start;
    (void)end;
    return 0;
}

/*
 * Region [region_start, region_end), this image's arena [arena_start, arena_end) inside it, RAM as
 * added to the fake machine. The heap is initialized but not opened: claims come first, then
 * fake_mm_open(). Calling it again is the next image: all of mm/ starts anew, RAM keeps its
 * contents (pass another arena then). Returns 0 or the first error.
 */
static inline int fake_mm_boot(paddr_t region_start, paddr_t region_end, paddr_t arena_start,
                               paddr_t arena_end)
{
    boot_alloc_init(arena_start, arena_end, false, fake_no_bad);
    slab_init();
    int rc = frametable_init(fake_machine_e820());
    if (rc == 0) {
        buddy_init();
        rc = vmap_init();
    }
    if (rc == 0) {
        boot_alloc_finish();
        rc = frametable_claim_range(pa_to_mfn(region_start), pa_to_mfn(region_end), FRAME_REGION,
                                    OWNER_NONE);
    }
    return rc;
}

static inline void fake_mm_open(void)
{
    while (!buddy_open_step(64)) {
    }
}

#endif
