/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry from boot/entry.asm.
 */
#ifndef HV_MAIN_H
#define HV_MAIN_H

#include "hv/compiler.h"
#include "hv/types.h"

/* The boot CPU's life. Physical addresses below 4 GiB; entry_tsc: TSC at the entry point;
 * handover_pa: 0 unless another image's relocator says that it has entered this one. */
NORETURN void hv_main(uint32_t info_pa, uint64_t entry_tsc, uint32_t loaded_pa,
                      uint32_t handover_pa);

#endif
