/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the live-update region.
 *
 * Runs before there is any allocator, on the boot loader's raw memory map (unsorted, overlapping,
 * of any length) and on the command line where it stands: nothing is stored.
 * Host test: tests/host/test_region.c
 */
#include "hv/region.h"

#include "hv/cmdline.h"
#include "hv/errno.h"

#define REGION_DEFAULT_MIN MIB(16)
#define REGION_LOWEST MIB(1)
#define REGION_CEILING GIB(4)

/* Per arena: image, stacks and small tables; and for each 2 MiB of RAM a section entry (16 bytes),
 * its part of the direct map's tables (8 bytes) and room for page entries of split sections. */
#define ARENA_FIXED MIB(4)
#define ARENA_PER_SECTION 32U

uint64_t region_default_size(paddr_t ram_end)
{
    uint64_t sections = ram_end / MIB(2) + 1;
    uint64_t arena = ARENA_FIXED + sections * ARENA_PER_SECTION;

    return MAX(align_up(2 * arena, REGION_ALIGN), REGION_DEFAULT_MIN);
}

/* What a place must keep clear of. */
struct search {
    const struct boot_info *info;
    paddr_t keep_start;
    paddr_t keep_end;
    paddr_t info_start;
    paddr_t info_end;
};

static uint64_t page_up(uint64_t v)
{
    return v > UINT64_MAX - PAGE_SIZE ? align_down(v, PAGE_SIZE) : align_up(v, PAGE_SIZE);
}

/* Physical addresses have at most 52 bits (SDM, "Physical Address Space"). */
#define PA_LIMIT BIT(52)

/* Map entry i in whole pages: RAM shrunk, everything else grown. May come out empty; RAM at
 * addresses that no CPU has is not believed at all. */
static struct e820_range whole_pages(const struct boot_info *info, size_t i)
{
    struct e820_range r = mb2_mmap(info, i);

    if (r.start >= r.end || (r.type == E820_RAM && r.end > PA_LIMIT)) {
        return (struct e820_range){0, 0, r.type};
    }
    if (r.type == E820_RAM) {
        r.start = page_up(r.start);
        r.end = align_down(r.end, PAGE_SIZE);
    } else {
        r.start = align_down(r.start, PAGE_SIZE);
        r.end = page_up(r.end);
    }
    return r;
}

static paddr_t ram_end(const struct boot_info *info)
{
    paddr_t end = 0;

    for (size_t i = 0; i < info->mmap_entries; i++) {
        struct e820_range r = whole_pages(info, i);

        if (r.type == E820_RAM && r.start < r.end) {
            end = MAX(end, r.end);
        }
    }
    return end;
}

/* The lowest address in [start, end) that no RAM entry covers; `end` when all is covered. */
static paddr_t first_uncovered(const struct boot_info *info, paddr_t start, paddr_t end)
{
    paddr_t pos = start;
    paddr_t before;

    do {
        before = pos;
        for (size_t i = 0; i < info->mmap_entries; i++) {
            struct e820_range r = whole_pages(info, i);

            if (r.type == E820_RAM && r.start <= pos && pos < r.end) {
                pos = r.end;
            }
        }
    } while (pos != before && pos < end);
    return MIN(pos, end);
}

/* Notes [c_start, c_end) as a conflict with [start, end): *lowest becomes the lowest start. */
static void note(paddr_t start, paddr_t end, paddr_t c_start, paddr_t c_end, paddr_t *lowest)
{
    if (ranges_overlap(start, end, c_start, c_end)) {
        *lowest = MIN(*lowest, c_start);
    }
}

static void note_not_ram(const struct boot_info *info, paddr_t start, paddr_t end, paddr_t *lowest)
{
    for (size_t i = 0; i < info->mmap_entries; i++) {
        struct e820_range r = whole_pages(info, i);

        if (r.type != E820_RAM) {
            note(start, end, r.start, r.end, lowest);
        }
    }
    *lowest = MIN(*lowest, first_uncovered(info, start, end));
}

static void note_modules(const struct boot_info *info, paddr_t start, paddr_t end, paddr_t *lowest)
{
    struct mb2_module m;

    for (size_t i = 0; i < info->nr_modules && mb2_module(info, i, &m); i++) {
        note(start, end, align_down(m.start, PAGE_SIZE), align_up(m.end, PAGE_SIZE), lowest);
    }
}

static void note_bad_pages(const char *cmdline, paddr_t start, paddr_t end, paddr_t *lowest)
{
    struct str_span bad;
    mfn_t s;
    mfn_t e;
    int rc;

    /* Malformed items are reported where the bad pages are claimed. */
    while ((rc = cmdline_badpage_next(&cmdline, &s, &e, &bad)) != 0) {
        if (rc == 1) {
            note(start, end, mfn_to_pa(s), mfn_to_pa(e), lowest);
        }
    }
}

/* Start of the lowest thing in the way of [start, end); `end` when it is free. */
static paddr_t lowest_conflict(const struct search *s, paddr_t start, paddr_t end)
{
    paddr_t lowest = end;

    note_not_ram(s->info, start, end, &lowest);
    note_modules(s->info, start, end, &lowest);
    note_bad_pages(s->info->cmdline, start, end, &lowest);
    note(start, end, s->keep_start, s->keep_end, &lowest);
    note(start, end, s->info_start, s->info_end, &lowest);
    return lowest;
}

/*
 * The highest place that fits, 0 for none. A place that conflicts moves below the lowest conflict:
 * every place in between would hold that same address, so none that fits is passed over.
 */
static paddr_t search_down(const struct search *s, uint64_t size)
{
    paddr_t limit = MIN(ram_end(s->info), REGION_CEILING);

    while (limit >= size) {
        paddr_t base = align_down(limit - size, REGION_ALIGN);

        if (base < REGION_LOWEST) {
            break;
        }
        limit = lowest_conflict(s, base, base + size);
        if (limit == base + size) {
            return base;
        }
    }
    return 0;
}

static int refuse(int rc, const char **why, const char *text)
{
    *why = text;
    return rc;
}

/*
 * A place that the user (or the image before this one) fixed. The running image and the boot
 * information may lie inside: after an update both do, at cold boot the image moves itself away.
 * Bad pages inside are stepped over by the boot allocator, except for the handover page's, which
 * has nowhere else to go.
 */
static int check_fixed(const struct boot_info *info, paddr_t base, uint64_t size, const char **why)
{
    paddr_t end = base + size;
    paddr_t lowest = end;

    if (!is_aligned(base, REGION_ALIGN)) {
        return refuse(-EINVAL, why, "liveupdate=: base is not a multiple of 2 MiB");
    }
    /* Aligned and not 0 (that would be "none given") is also above the legacy first megabyte. */
    _Static_assert(REGION_ALIGN >= REGION_LOWEST, "no aligned base lies below it");
    if (base > REGION_CEILING - size) {
        return refuse(-EINVAL, why, "liveupdate=: reaches above 4 GiB");
    }
    note_not_ram(info, base, end, &lowest);
    if (lowest != end) {
        return refuse(-EINVAL, why, "liveupdate=: not all of the range is RAM");
    }
    note_modules(info, base, end, &lowest);
    if (lowest != end) {
        return refuse(-EINVAL, why, "liveupdate=: overlaps a module");
    }
    if (cmdline_bad_in_range(info->cmdline, base, base + PAGE_SIZE) != 0) {
        return refuse(-EINVAL, why, "liveupdate=: the handover page is a bad page");
    }
    return 0;
}

int region_find(const struct boot_info *info, paddr_t info_pa, paddr_t keep_start, paddr_t keep_end,
                struct lu_region *out, const char **why)
{
    struct search s = {info, keep_start, keep_end, info_pa, info_pa + info->size};
    uint64_t size = 0;
    paddr_t base = 0;
    int rc = cmdline_liveupdate(info->cmdline, &size, &base);

    if (rc == -ENOENT) {
        size = region_default_size(ram_end(info));
    } else if (rc != 0) {
        return refuse(rc, why, "liveupdate=: not SIZE[@BASE]");
    }
    if (!is_aligned(size, REGION_ALIGN)) {
        return refuse(-EINVAL, why, "liveupdate=: size is not a multiple of 2 MiB");
    }
    if (size < REGION_MIN) {
        return refuse(-EINVAL, why, "liveupdate=: size is below 8 MiB");
    }
    if (size > REGION_CEILING) {
        return refuse(-EINVAL, why, "liveupdate=: size is above 4 GiB");
    }
    if (base != 0) {
        rc = check_fixed(info, base, size, why);
        if (rc != 0) {
            return rc;
        }
    } else {
        base = search_down(&s, size);
        if (base == 0) {
            return refuse(-ENOSPC, why, "liveupdate=: no free range of that size below 4 GiB");
        }
    }
    *out = (struct lu_region){.base = base, .size = size};
    return 0;
}

/* Arena A is the smaller one: the handover page is in its half. */
uint64_t region_size_for(uint64_t arena_bytes)
{
    if (arena_bytes > REGION_CEILING / 2 - PAGE_SIZE) {
        return 0;
    }
    return MAX(align_up(2 * (arena_bytes + PAGE_SIZE), REGION_ALIGN), REGION_MIN);
}

paddr_t region_fit(const char *cmdline, paddr_t start, paddr_t end, uint64_t bytes)
{
    paddr_t pos = page_up(start);

    while (pos >= start && pos < end && bytes <= end - pos) {
        paddr_t bad_end = cmdline_bad_in_range(cmdline, pos, pos + bytes);

        if (bad_end == 0) {
            return pos;
        }
        pos = bad_end;
    }
    return 0;
}
