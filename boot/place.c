/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Putting this image where it belongs.
 *
 * A boot loader puts an image anywhere; an image lives in an arena of the region. So the image that
 * finds itself elsewhere copies itself into an arena, with boot information that names the region,
 * and enters the copy as the relocator enters the next image: from there on cold boot and update
 * boot are one path. Runs on the early tables and writes no initialized data, so that the copy is
 * as the file was.
 */
#include "hv/place.h"

#include "asm/machine.h"
#include "hv/cmdline.h"
#include "hv/printk.h"
#include "hv/string.h"

/* Of entry32 from the image's start: a plain number made by the linker. */
extern char __entry_offset[];

#define CMDLINE_ROOM 128U /* " liveupdate=0x...@0x... boot_tsc=0x..." */

static uint64_t image_bytes(void)
{
    return (uint64_t)(__image_end - __image_start);
}

/* Ours, with the region and the time of the first entry behind it (the last word of a kind
 * wins). */
static void region_cmdline(char *to, size_t cap, const char *old, const struct lu_region *r,
                           uint64_t entry_tsc)
{
    fmt_str(to, cap, "%s%sliveupdate=0x%llx@0x%llx boot_tsc=0x%llx", old, old[0] != '\0' ? " " : "",
            (unsigned long long)r->size, (unsigned long long)r->base,
            (unsigned long long)entry_tsc);
}

/* Copies image and boot information into one arena and enters the copy; returns when something is
 * in the way there. */
static void move_to(const struct boot_info *info, paddr_t info_pa, const struct lu_region *r,
                    unsigned int arena, uint64_t entry_tsc)
{
    paddr_t start = region_arena_start(r, arena), end = region_arena_end(r, arena);
    size_t cmdline_cap = strlen(info->cmdline) + CMDLINE_ROOM;
    /* The command line is counted at its longest; it is written behind the block. */
    size_t info_cap = info->size + cmdline_cap + PAGE_SIZE;
    paddr_t dest = region_fit(info->cmdline, start, end, image_bytes());
    paddr_t block, text, used;
    size_t bytes;

    if (dest == 0) {
        return;
    }
    block = region_fit(info->cmdline, dest + image_bytes(), end,
                       align_up(info_cap, PAGE_SIZE) + align_up(cmdline_cap, PAGE_SIZE));
    if (block == 0) {
        return;
    }
    text = block + align_up(info_cap, PAGE_SIZE);
    used = text + align_up(cmdline_cap, PAGE_SIZE);
    if (ranges_overlap(dest, used, image_pa, image_pa + image_bytes()) ||
        ranges_overlap(dest, used, info_pa, info_pa + info->size)) {
        return;
    }
    memcpy(pa_to_direct(dest), __image_start, (size_t)(__data_end - __image_start));
    memset(pa_to_direct(dest + (uint64_t)(__data_end - __image_start)), 0,
           (size_t)(__image_end - __data_end));
    region_cmdline(pa_to_direct(text), cmdline_cap, info->cmdline, r, entry_tsc);
    bytes = mb2_build(pa_to_direct(block), info_cap, info, pa_to_direct(text), true);
    memset(pa_to_direct(text), 0, cmdline_cap);
    if (bytes == 0) {
        panic("boot: the boot information does not fit in %zu bytes", info_cap);
    }
    kexec_jump_early(dest + (uintptr_t)__entry_offset, block);
}

/* True when the image lies at its place in that arena. */
static bool is_home(const struct boot_info *info, const struct lu_region *r, unsigned int arena)
{
    paddr_t start = region_arena_start(r, arena), end = region_arena_end(r, arena);

    return image_pa >= start && image_pa < end &&
           region_fit(info->cmdline, start, end, image_bytes()) == image_pa;
}

unsigned int place_image(const struct boot_info *info, paddr_t info_pa, uint64_t entry_tsc,
                         struct lu_region *region)
{
    const char *why = "";
    int rc = region_find(info, info_pa, image_pa, image_pa + image_bytes(), region, &why);

    if (rc != 0) {
        panic("%s (%d)", why, rc);
    }
    for (unsigned int arena = 0; arena < 2; arena++) {
        if (is_home(info, region, arena)) {
            return arena;
        }
    }
    move_to(info, info_pa, region, 0, entry_tsc);
    move_to(info, info_pa, region, 1, entry_tsc);
    panic("liveupdate: no arena of the region at 0x%llx has room for the image beside what the "
          "boot loader put there; choose another base",
          (unsigned long long)region->base);
}
