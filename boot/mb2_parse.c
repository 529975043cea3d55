/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot2 information -> struct boot_info.
 *
 * Copies nothing and has no limit on tags: mb2_parse() checks every tag once, the accessors walk
 * the checked block again.  Host test: tests/host/test_mb2.c, tests/host/fuzz/fuzz_mb2.c
 */
#include "hv/mb2.h"

#include "hv/errno.h"
#include "mb2_tags.h"

static int refuse(const char **why, const char *text)
{
    *why = text;
    return -EINVAL;
}

int mb2_tag_next(const uint8_t *base, size_t size, size_t *offset, struct mb2_tag *tag,
                 const char **why)
{
    size_t left = size - *offset;
    const uint8_t *p = base + *offset;

    if (left < MB2_TAG_HEADER) {
        return refuse(why, "no end tag");
    }
    *tag = (struct mb2_tag){.type = mb2_rd32(p), .size = mb2_rd32(p + 4), .p = p};
    if (tag->size < MB2_TAG_HEADER) {
        return refuse(why, "tag shorter than its header");
    }
    if (tag->size > left) {
        return refuse(why, "tag overruns the block");
    }
    /* size is a multiple of 8, so the padding cannot overrun where the tag does not. */
    *offset += align_up(tag->size, MB2_ALIGN);
    return tag->type != MB2_TAG_END;
}

static bool terminated(const struct mb2_tag *tag, size_t text)
{
    return tag->size > text &&
           strnlen((const char *)tag->p + text, tag->size - text) < tag->size - text;
}

static struct mb2_module module_of(const struct mb2_tag *tag)
{
    return (struct mb2_module){
        .start = mb2_rd32(tag->p + 8),
        .end = mb2_rd32(tag->p + 12),
        .cmdline = (const char *)tag->p + MB2_MODULE_STRING,
    };
}

/* Modules seen so far. Loaders place them in order: then the bounds alone show that the next one
 * is clear of all, and no pair has to be compared. */
struct module_bounds {
    paddr_t lowest;
    paddr_t highest;
};

/* True when one of the first `nr` modules overlaps m. */
static bool overlaps_earlier(const struct boot_info *info, size_t nr, const struct mb2_module *m)
{
    size_t offset = MB2_INFO_HEADER;
    struct mb2_tag tag;
    const char *why;

    while (nr > 0 && mb2_tag_next(info->base, info->size, &offset, &tag, &why) == 1) {
        if (tag.type == MB2_TAG_MODULE) {
            struct mb2_module other = module_of(&tag);

            if (ranges_overlap(m->start, m->end, other.start, other.end)) {
                return true;
            }
            nr--;
        }
    }
    return false;
}

static int check_module(const struct mb2_tag *tag, struct boot_info *info,
                        struct module_bounds *bounds, const char **why)
{
    struct mb2_module m;

    if (tag->size <= MB2_MODULE_STRING || !terminated(tag, MB2_MODULE_STRING)) {
        return refuse(why, "module tag: string without terminator");
    }
    m = module_of(tag);
    if (m.start >= m.end) {
        return refuse(why, "module tag: empty or inverted range");
    }
    if (info->nr_modules > 0 && m.start < bounds->highest && m.end > bounds->lowest &&
        overlaps_earlier(info, info->nr_modules, &m)) {
        return refuse(why, "module tag: overlaps another module");
    }
    bounds->lowest = info->nr_modules > 0 ? MIN(bounds->lowest, m.start) : m.start;
    bounds->highest = info->nr_modules > 0 ? MAX(bounds->highest, m.end) : m.end;
    info->nr_modules++;
    return 0;
}

static int check_mmap(const struct mb2_tag *tag, struct boot_info *info, const char **why)
{
    size_t entry_size;

    if (tag->size < MB2_MMAP_ENTRIES) {
        return refuse(why, "memory map tag: shorter than its header");
    }
    entry_size = mb2_rd32(tag->p + 8);
    if (entry_size < MB2_MMAP_ENTRY_MIN || entry_size % MB2_ALIGN != 0) {
        return refuse(why, "memory map tag: odd entry size");
    }
    if (tag->size == MB2_MMAP_ENTRIES || (tag->size - MB2_MMAP_ENTRIES) % entry_size != 0) {
        return refuse(why, "memory map tag: not a whole number of entries");
    }
    /* Of doubled tags, here and below, the first one counts. */
    if (info->mmap == NULL) {
        info->mmap = tag->p + MB2_MMAP_ENTRIES;
        info->mmap_entry_size = entry_size;
        info->mmap_entries = (tag->size - MB2_MMAP_ENTRIES) / entry_size;
    }
    return 0;
}

static int check_string(const struct mb2_tag *tag, const char **text, const char **why)
{
    if (!terminated(tag, MB2_STRING_TAG)) {
        return refuse(why, tag->type == MB2_TAG_CMDLINE
                               ? "command line tag: string without terminator"
                               : "loader name tag: string without terminator");
    }
    if (*text == NULL) {
        *text = (const char *)tag->p + MB2_STRING_TAG;
    }
    return 0;
}

static void note_rsdp(const struct mb2_tag *tag, struct boot_info *info, bool newer)
{
    if (newer || info->rsdp == NULL) {
        info->rsdp = tag->p + MB2_TAG_HEADER;
        info->rsdp_bytes = tag->size - MB2_TAG_HEADER;
    }
}

static int check_tag(const struct mb2_tag *tag, struct boot_info *info,
                     struct module_bounds *bounds, const char **why)
{
    switch (tag->type) {
    case MB2_TAG_CMDLINE:
        return check_string(tag, &info->cmdline, why);
    case MB2_TAG_LOADER:
        return check_string(tag, &info->loader, why);
    case MB2_TAG_MODULE:
        return check_module(tag, info, bounds, why);
    case MB2_TAG_MMAP:
        return check_mmap(tag, info, why);
    case MB2_TAG_ACPI_OLD:
    case MB2_TAG_ACPI_NEW:
        note_rsdp(tag, info, tag->type == MB2_TAG_ACPI_NEW);
        return 0;
    default:
        return 0;
    }
}

int mb2_parse(const void *info, size_t max, struct boot_info *out, const char **why)
{
    struct boot_info found = {.base = info};
    struct module_bounds bounds = {0, 0};
    size_t offset = MB2_INFO_HEADER;
    struct mb2_tag tag;
    int rc;

    if (max < MB2_INFO_HEADER) {
        return refuse(why, "no room for the header");
    }
    found.size = mb2_rd32(found.base);
    if (found.size < MB2_INFO_HEADER + MB2_TAG_HEADER || found.size % MB2_ALIGN != 0) {
        return refuse(why, "total size too small or not a multiple of 8");
    }
    if (found.size > max || found.size > MB2_INFO_MAX) {
        return refuse(why, "total size too large");
    }
    while ((rc = mb2_tag_next(found.base, found.size, &offset, &tag, why)) == 1) {
        rc = check_tag(&tag, &found, &bounds, why);
        if (rc != 0) {
            return rc;
        }
    }
    if (rc != 0) {
        return rc;
    }
    if (found.mmap == NULL) {
        return refuse(why, "no memory map tag");
    }
    found.cmdline = found.cmdline != NULL ? found.cmdline : "";
    found.loader = found.loader != NULL ? found.loader : "";
    *out = found;
    return 0;
}

bool mb2_module(const struct boot_info *info, size_t i, struct mb2_module *out)
{
    size_t offset = MB2_INFO_HEADER;
    struct mb2_tag tag;
    const char *why;

    while (mb2_tag_next(info->base, info->size, &offset, &tag, &why) == 1) {
        if (tag.type == MB2_TAG_MODULE && i-- == 0) {
            *out = module_of(&tag);
            return true;
        }
    }
    return false;
}

struct e820_range mb2_mmap(const struct boot_info *info, size_t i)
{
    const uint8_t *entry = info->mmap + i * info->mmap_entry_size;
    struct e820_range range = {.start = mb2_rd64(entry), .type = mb2_rd32(entry + 16)};

    if (__builtin_add_overflow(range.start, mb2_rd64(entry + 8), &range.end)) {
        range.end = UINT64_MAX;
    }
    return range;
}
