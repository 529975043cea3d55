/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmap: contiguous addresses over scattered frames, each area followed by an unmapped guard page.
 *
 * Lock: vmap_lock, under which vmap_pt_map() and vmap_pt_unmap() of hv/seam.h are called.
 * The seam flushes the local TLB only; other CPUs catch up when they next take hv_lock, without
 * which nobody touches vmap space.
 */
#ifndef HV_VMAP_H
#define HV_VMAP_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Once, after paging and slab work. 0 (takes no memory). */
MUST_CHECK int vmap_init(void);

/* Reserves addresses for `pages` pages (and the guard), nothing mapped. NULL when there is no room
 * or no memory. */
void *vmap_reserve(size_t pages);

/* Maps frame `mfn` as page `index` of a reserved area. 0 or -ENOMEM. */
MUST_CHECK int vmap_set(void *area, size_t index, mfn_t mfn);

/* The frame mapped there, INVALID_MFN when none. */
mfn_t vmap_get(const void *area, size_t index);

/* Counts what was unmapped: a CPU whose percpu.tlb_seen differs may hold old translations. */
extern uint64_t vmap_flushes;

/* Unmaps and gives the addresses back; the frames stay whose they are. vunmap(NULL): nothing. */
void vunmap(void *area);

/* Zeroed pool pages, mapped; NULL when out of memory. vfree() gives the pages back. */
void *vmalloc(size_t bytes);
void vfree(void *area);

/* A CPU is in the middle of it: see mm_busy(). */
bool vmap_busy(void);

#endif
