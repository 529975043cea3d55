/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multiboot2 tags, shared by the parser and the builder.
 */
#ifndef BOOT_MB2_TAGS_H
#define BOOT_MB2_TAGS_H

#include "hv/compiler.h"
#include "hv/string.h"
#include "hv/types.h"
#include "hw/multiboot.h"

#define MB2_ALIGN 8U       /* of the block and of every tag */
#define MB2_INFO_HEADER 8U /* total_size, reserved */
#define MB2_TAG_HEADER 8U  /* type, size */
#define MB2_STRING_TAG 8U  /* offset of the text in a string tag */
#define MB2_MODULE_STRING 16U
#define MB2_MMAP_ENTRIES 16U
#define MB2_MMAP_ENTRY_MIN 24U

struct mb2_tag {
    uint32_t type;
    uint32_t size;    /* with the header, without padding */
    const uint8_t *p; /* the header */
};

static inline uint32_t mb2_rd32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t mb2_rd64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/*
 * The tag at *offset of a block of `size` bytes; moves *offset behind it (start with
 * MB2_INFO_HEADER). Returns 1; 0 at the end tag; -EINVAL with *why when the tag does not fit. It
 * cannot fail on a block that mb2_parse() accepted.
 */
MUST_CHECK int mb2_tag_next(const uint8_t *base, size_t size, size_t *offset, struct mb2_tag *tag,
                            const char **why);

#endif
