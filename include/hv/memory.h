/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's memory as molt found it, and the account of every frame.
 */
#ifndef HV_MEMORY_H
#define HV_MEMORY_H

#include "hv/compiler.h"
#include "hv/e820.h"
#include "hv/mb2.h"
#include "hv/region.h"

/* Normalized memory map; lies in the arena. */
extern struct e820 memory_map;

/* From the boot information: map, frametable, region, bad pages and frame 0 claimed; heap still
 * closed. Panics when the arena is too small. */
void memory_init(const struct boot_info *info, const struct lu_region *region);

/* Prints and checks where every frame of the memory map is; false (and says so) when the sums do
 * not come out. The heap must be open. */
bool memory_account(void);

/* Some memory management was entered and not left: after a fault there nothing of it can be
 * trusted. */
bool mm_busy(void);

#endif
