/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image for an update: ELF checks, ELF notes, placing of segments.
 */
#ifndef HV_KIMAGE_H
#define HV_KIMAGE_H

#include "hv/compiler.h"
#include "hv/reloc.h"
#include "hv/types.h"
#include "public/lu_abi.h"

struct kimage_info {
    LAYOUT(uint64_t mem_size; /* bytes from the lowest p_paddr to the end of the highest segment */
           uint64_t paddr_base; /* lowest p_paddr, page aligned */
           uint64_t entry;      /* offset of the entry point from the image's start */
           , uint32_t flags; uint32_t stream_min; uint32_t stream_max;
           unsigned int segments; char version[32]; char build_id[48];
           uint64_t seal_at; /* of the seal in the file */
           struct lu_note_seal seal;)
};

/* Why an image is not taken. */
struct kimage_fault {
    uint32_t code; /* HC_LU_R_* */
    const char *text;
};

/*
 * Checks an ELF image that nobody else can change meanwhile. Returns 0, or -ENOEXEC (not an ELF64
 * x86-64 executable, truncated, a segment outside the file, filesz above memsz, segments that
 * overlap or are not page-aligned, writable and executable at once, entry outside executable
 * segments, no molt note, no build id, no seal), -EPROTO (no stream version in common with
 * [LU_STREAM_VERSION_MIN, lu_stream_newest()]), with *fault. Sizes are bounded by nothing but 64
 * bits here; the caller compares mem_size with its arena. What the seal says is not checked.
 */
MUST_CHECK int kimage_parse(const void *elf, size_t len, struct kimage_info *out,
                            struct kimage_fault *fault);

/*
 * Puts the segments at dest_pa (page aligned, mem_size bytes rounded up to pages). `direct`: copied
 * there now, gaps and .bss zeroed. Else into FRAME_IMAGE heap pages as SOURCE and ZERO entries of
 * the list, for the relocator. 0 or -ENOMEM.
 */
MUST_CHECK int kimage_place(const struct kimage_info *info, const void *elf, paddr_t dest_pa,
                            bool direct, struct reloc_list *list);

#endif
