/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH: "x86/HVM direct boot ABI", version 1 of the start information.
 */
#ifndef HW_PVH_H
#define HW_PVH_H

#include <stdint.h>

#define PVH_NOTE_NAME "Xen"
#define PVH_NOTE_PHYS32_ENTRY 18U

#define PVH_START_MAGIC 0x336ec578U /* "xEn3", bit 7 of the E set */
#define PVH_START_VERSION 1U

struct pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t nr_modules;
    uint64_t modlist;
    uint64_t cmdline;
    uint64_t rsdp;
    uint64_t memmap; /* the rest: version 1 and later */
    uint32_t memmap_entries;
    uint32_t reserved;
};

struct pvh_module {
    uint64_t start;
    uint64_t bytes;
    uint64_t cmdline;
    uint64_t reserved;
};

struct pvh_memmap_entry {
    uint64_t start;
    uint64_t bytes;
    uint32_t type; /* as e820 */
    uint32_t reserved;
};

_Static_assert(sizeof(struct pvh_start_info) == 56, "hvm_start_info");
_Static_assert(sizeof(struct pvh_module) == 32, "hvm_modlist_entry");
_Static_assert(sizeof(struct pvh_memmap_entry) == 24, "hvm_memmap_table_entry");

#endif
