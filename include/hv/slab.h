/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small objects of this image: size classes of 32 to 4032 bytes out of pool pages; larger sizes are
 * whole pages through vmap. Never for anything that crosses an update.
 */
#ifndef HV_SLAB_H
#define HV_SLAB_H

#include "hv/types.h"

/* Forgets all objects: an image starts with none. Needed only where mm/ starts anew in one process
 * (host tests); a fresh image's zeroed data is the same state. */
void slab_init(void);

/* Zeroed memory, aligned to 64 bytes at least (sizes below 64: to the size class); NULL when out of
 * memory or bytes == 0. From boot_alloc_init() on (sizes above 4032: from vmap_init() on). */
void *kzalloc(size_t bytes);

/* kfree(NULL) does nothing. */
void kfree(void *p);

/* A CPU is in the middle of it: see mm_busy(). */
bool slab_busy(void);

#endif
