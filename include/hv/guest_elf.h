/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF files of guests (core/guest_elf.c): program headers, notes, loading. Untrusted.
 */
#ifndef HV_GUEST_ELF_H
#define HV_GUEST_ELF_H

#include "hv/compiler.h"
#include "hv/types.h"

struct domain;

/* A file whose headers were checked: the program headers lie in it. */
struct elf_file {
    const uint8_t *data;
    uint64_t bytes;
    bool elf64;
    uint64_t entry; /* e_entry: by virtual address */
    uint64_t phoff, phnum, phentsize;
};

/* One program header of either class. */
struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

/* What was loaded. */
struct elf_image {
    uint64_t start, end; /* guest-physical, over all segments */
    uint64_t entry;      /* guest-physical address of e_entry; UINT64_MAX: it lies in no segment */
};

/* Checks the headers of an i386 or x86-64 ELF file. 0 or -ENOEXEC with *why. */
MUST_CHECK int elf_open(struct elf_file *f, const uint8_t *data, uint64_t bytes, const char **why);

/* Program header i, below f->phnum. */
struct elf_segment elf_segment(const struct elf_file *f, uint64_t i);

/* Writes every PT_LOAD segment to its physical address, which has to be below `limit` and in the
 * domain's memory. 0, -ENOEXEC or -ENOSPC with *why. */
MUST_CHECK int elf_load(struct domain *d, const struct elf_file *f, uint64_t limit,
                        struct elf_image *image, const char **why);

/* Is guest-physical pa inside a PT_LOAD segment? */
bool elf_loads(const struct elf_file *f, uint64_t pa);

/* Finds a note: its descriptor and size. False: there is none, or it reaches outside the file. */
bool elf_note(const struct elf_file *f, const char *name, uint32_t type, const uint8_t **desc,
              uint32_t *desc_bytes);

#endif
