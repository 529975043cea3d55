/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the running image belongs: an arena of the live-update region.
 */
#ifndef HV_PLACE_H
#define HV_PLACE_H

#include "hv/mb2.h"
#include "hv/region.h"

/* Finds the region. When this image lies at its place in an arena, returns which; otherwise copies
 * itself there and starts over in the copy (entry_tsc goes along as boot_tsc=). Panics when
 * there is no place. Early tables only. */
unsigned int place_image(const struct boot_info *info, paddr_t info_pa, uint64_t entry_tsc,
                         struct lu_region *region);

#endif
