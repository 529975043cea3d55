/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot2 information for the next image, from the running one's.
 *
 * Host test: tests/host/test_mb2.c
 */
#include "hv/mb2.h"

#include "mb2_tags.h"

struct out {
    uint8_t *buf; /* NULL: count only */
    size_t cap;
    size_t used; /* goes on counting when cap is exceeded */
};

static void put(struct out *out, const void *data, size_t n)
{
    if (out->buf != NULL && out->used <= out->cap && n <= out->cap - out->used) {
        memcpy(out->buf + out->used, data, n);
    }
    out->used += n;
}

static void put_u32(struct out *out, uint32_t v)
{
    put(out, &v, sizeof(v));
}

static void pad(struct out *out)
{
    static const uint8_t zeros[MB2_ALIGN];

    put(out, zeros, align_up(out->used, MB2_ALIGN) - out->used);
}

/* What the next image cannot find out by itself and what an update does not change. The command
 * line is new, and modules have long become guests. */
static bool still_holds(uint32_t type, bool modules)
{
    switch (type) {
    case MB2_TAG_LOADER:
    case MB2_TAG_MMAP:
    case MB2_TAG_ACPI_OLD:
    case MB2_TAG_ACPI_NEW:
    case MB2_TAG_EFI32_SYSTEM_TABLE:
    case MB2_TAG_EFI64_SYSTEM_TABLE:
    case MB2_TAG_EFI_MMAP:
        return true;
    case MB2_TAG_MODULE:
        return modules;
    default:
        return false;
    }
}

static void put_all(struct out *out, const struct boot_info *old, const char *cmdline, bool modules,
                    uint32_t total)
{
    size_t length = strlen(cmdline) + 1;
    size_t offset = MB2_INFO_HEADER;
    struct mb2_tag tag;
    const char *why;

    put_u32(out, total);
    put_u32(out, 0);
    put_u32(out, MB2_TAG_CMDLINE);
    put_u32(out, (uint32_t)(MB2_STRING_TAG + length));
    put(out, cmdline, length);
    pad(out);
    while (mb2_tag_next(old->base, old->size, &offset, &tag, &why) == 1) {
        if (still_holds(tag.type, modules)) {
            put(out, tag.p, tag.size);
            pad(out);
        }
    }
    put_u32(out, MB2_TAG_END);
    put_u32(out, MB2_TAG_HEADER);
}

size_t mb2_build(void *buf, size_t cap, const struct boot_info *old, const char *cmdline,
                 bool modules)
{
    struct out count = {.buf = NULL};
    struct out out = {.buf = buf, .cap = cap};

    put_all(&count, old, cmdline, modules, 0);
    if (count.used > MB2_INFO_MAX || (buf != NULL && count.used > cap)) {
        return 0;
    }
    if (buf != NULL) {
        put_all(&out, old, cmdline, modules, (uint32_t)count.used);
    }
    return count.used;
}
