/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot2 information: parsing what a boot loader (or the previous image) hands over, and
 * building the block for the next image. Multiboot2 specification, "Boot information format".
 *
 * The block is untrusted: every size is bounded, nothing is read outside [info, info + total).
 */
#ifndef HV_MB2_H
#define HV_MB2_H

#include "hv/compiler.h"
#include "hv/e820.h"
#include "hv/types.h"

#define MB2_INFO_MAX MIB(16) /* larger blocks are refused */

struct mb2_module {
    paddr_t start; /* bytes, half-open */
    paddr_t end;
    const char *cmdline; /* inside the block, terminated */
};

struct boot_info {
    const uint8_t *base; /* the block */
    size_t size;         /* its total size, checked */
    const char *cmdline; /* inside the block; "" when there is none */
    const char *loader;  /* boot loader name, "" when there is none */
    const uint8_t *rsdp; /* copy of ACPI's RSDP, the newer one if there are two; or NULL */
    size_t rsdp_bytes;
    size_t nr_modules;
    const uint8_t *mmap;    /* first memory map entry */
    size_t mmap_entry_size; /* at least 24 */
    size_t mmap_entries;    /* at least 1 */
};

/*
 * Checks the whole block and fills *out. `max`: readable bytes at info. Returns 0, or -EINVAL with
 * *why naming the tag and the fault (static text): total size 0, not a multiple of 8 or above max;
 * a tag that overruns, has a size below its header's or makes no progress; no end tag; a string
 * without terminator; a module that is empty or ends before it starts; modules that overlap one
 * another; no memory map, or entries of an odd size.
 */
MUST_CHECK int mb2_parse(const void *info, size_t max, struct boot_info *out, const char **why);

/* Module number i (in the order of the tags); false when there are fewer. */
bool mb2_module(const struct boot_info *info, size_t i, struct mb2_module *out);

/* Memory map entry i; wrapping entries are cut at 2^64 - 1. */
struct e820_range mb2_mmap(const struct boot_info *info, size_t i);

/*
 * Builds a block for the next image at buf: the command line given, and of the old block what still
 * holds (memory map, loader name, ACPI pointers, EFI system table and map); modules only if
 * `modules`. Returns the bytes used, or 0 when cap is too small. buf == NULL: only counts.
 */
size_t mb2_build(void *buf, size_t cap, const struct boot_info *old, const char *cmdline,
                 bool modules);

#endif
