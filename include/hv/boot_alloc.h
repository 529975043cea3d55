/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot allocator and the image pool: both live in this image's arena and nowhere else.
 *
 * boot_alloc() hands out contiguous memory until boot_alloc_finish(); the rest of the arena then
 * feeds the image pool, page by page. Nothing from here may ever reach a domain or the stream.
 * Frames listed by badpage= are stepped over.
 */
#ifndef HV_BOOT_ALLOC_H
#define HV_BOOT_ALLOC_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Says whether [start, end) holds a bad frame: returns 0 when it does not, else the first address
 * after the last bad frame in it. */
typedef paddr_t (*bad_range_fn)(paddr_t start, paddr_t end);

/* Takes [start, end) of the arena: what lies behind image and boot information. `zeroed`: the
 * previous image scrubbed it. Boot CPU, once. */
void boot_alloc_init(paddr_t start, paddr_t end, bool zeroed, bad_range_fn bad);

/* Zeroed memory, align a power of two; NULL when the arena is too small. Only before
 * boot_alloc_finish(). */
void *boot_alloc(size_t bytes, size_t align);

/* Ends boot_alloc(); from here on only whole pages by pool_alloc(). */
void boot_alloc_finish(void);

/* Bytes of the arena not handed out yet (bad frames included). */
uint64_t boot_alloc_left(void);

/*
 * One zeroed page for this image: from the arena's rest, then from the heap (FRAME_IMAGE) when that
 * is open. NULL when both are empty. Any stage after boot_alloc_init(); before boot_alloc_finish()
 * it comes from boot_alloc().
 */
void *pool_alloc(void);
void pool_free(void *page);

/*
 * The same from the arena alone and not counted by pool_used(): for the frametable, which calls it
 * under heap_lock and cannot fall back on the heap. pool_free_arena() takes such a page back; false
 * (and nothing done) when the page does not lie in the arena.
 */
void *pool_alloc_arena(void);
bool pool_free_arena(void *page);

/* For the audit: whether a frame lies in what has been handed out of the arena; and NULL, or what
 * is wrong with the book that is kept of it. It must lie in [start, end). */
bool boot_alloc_holds(mfn_t mfn);
const char *boot_alloc_check(paddr_t start, paddr_t end);

/* Pages that pool_alloc() has handed out and not got back: leak tests compare it. */
uint64_t pool_used(void);

/* A CPU is in the middle of it: see mm_busy(). */
bool pool_busy(void);

#endif
