/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's memory: from the loader's map to an account of every frame.
 */
#include "hv/memory.h"

#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/frametable.h"
#include "hv/lu.h"
#include "hv/slab.h"
#include "hv/vmap.h"
#include "hv/printk.h"
#include "hv/seam.h"

struct e820 memory_map;

static void read_map(const struct boot_info *info)
{
    size_t nr = info->mmap_entries;
    size_t capacity = 2 * nr + 1;

    memory_map.ranges = boot_alloc(capacity * sizeof(memory_map.ranges[0]), 8);
    if (memory_map.ranges == NULL) {
        panic("memory: no room in the arena for %zu memory map entries", nr);
    }
    for (size_t i = 0; i < nr; i++) {
        memory_map.ranges[i] = mb2_mmap(info, i);
    }
    memory_map.nr = nr;
    if (e820_normalise(memory_map.ranges, &memory_map.nr, capacity) != 0) {
        panic("memory: the memory map cannot be put in order");
    }
}

static void claim_bad_pages(const char *cmdline)
{
    const char *cursor = cmdline;
    struct str_span bad;
    mfn_t start, end;
    int rc;

    while ((rc = cmdline_badpage_next(&cursor, &start, &end, &bad)) != 0) {
        if (rc < 0) {
            printk("command line: badpage: \"%.*s\" is no MFN[-MFN]: ignored", (int)bad.len, bad.s);
        } else if (frametable_claim_range(start, end, FRAME_BAD, OWNER_NONE) != 0) {
            panic("badpage: 0x%llx-0x%llx cannot be marked", (unsigned long long)start.v,
                  (unsigned long long)end.v - 1);
        }
    }
}

void memory_init(const struct boot_info *info, const struct lu_region *region)
{
    read_map(info);
    if (frametable_init(&memory_map) != 0) {
        panic(
            "memory: the arena is too small for %llu KiB of frametable; give a larger liveupdate=",
            (unsigned long long)(frametable_bytes(e820_ram_end(&memory_map)) >> 10));
    }
    buddy_init();
    claim_bad_pages(info->cmdline);
    if (frametable_claim_range(pa_to_mfn(region->base), pa_to_mfn(region->base + region->size),
                               FRAME_REGION, OWNER_NONE) != 0) {
        panic("liveupdate: the region is not free memory");
    }
    if (frametable_get(mfn_from(0)).state == FRAME_NONE && e820_is_ram(&memory_map, 0, PAGE_SIZE) &&
        frametable_claim(mfn_from(0), ORDER_4K, FRAME_RESERVED, OWNER_NONE) != 0) {
        panic("memory: frame 0 cannot be set aside");
    }
}

/* Frames that the map names and that are no whole page of RAM. */
static uint64_t firmware_frames(void)
{
    uint64_t frames = 0;
    uint64_t done = 0; /* first frame not counted yet */

    for (size_t i = 0; i < memory_map.nr; i++) {
        const struct e820_range *r = &memory_map.ranges[i];
        uint64_t start = MAX(r->start >> PAGE_SHIFT, done);
        uint64_t end = (r->end + PAGE_SIZE - 1) >> PAGE_SHIFT;

        if (r->type == E820_RAM) {
            done = MAX(done, r->end >> PAGE_SHIFT);
        } else if (end > start) {
            frames += end - start;
            done = end;
        }
    }
    return frames;
}

bool memory_account(void)
{
    uint64_t walked[FRAME_STATES];
    uint64_t ram = e820_ram_frames(&memory_map), firmware = firmware_frames();
    uint64_t sum = 0, image, stream;
    bool ok = true;

    frametable_walk(walked);
    for (unsigned int s = 0; s < FRAME_STATES; s++) {
        ok &= walked[s] == frametable_count(s);
        sum += walked[s];
    }
    ok &= sum == ram && buddy_free_frames() == walked[FRAME_FREE] && walked[FRAME_NONE] == 0;
#define ULL(x) ((unsigned long long)(x))
    lu_next_frames(&image, &stream); /* comes and goes: apart from what stays */
    printk("memory: frames=%llu firmware=%llu bad=%llu reserved=%llu region=%llu preserved=%llu "
           "heap=%llu next=%llu free=%llu sum %s",
           ULL(ram + firmware), ULL(firmware), ULL(walked[FRAME_BAD]), ULL(walked[FRAME_RESERVED]),
           ULL(walked[FRAME_REGION]),
           ULL(walked[FRAME_GUEST] + walked[FRAME_STREAM] + walked[FRAME_MODULE] +
               walked[FRAME_RECORDER] - stream),
           ULL(walked[FRAME_IMAGE] - image), ULL(image + stream), ULL(walked[FRAME_FREE]),
           ok ? "ok" : "WRONG");
#undef ULL
    return ok;
}

bool mm_busy(void)
{
    return buddy_busy() || slab_busy() || vmap_busy() || pool_busy();
}
