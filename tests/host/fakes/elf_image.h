/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small ELF image as an update would bring it, for tests to spoil.
 *
 * File: header, program headers, notes, then code (1.5 pages), read-only data (less than a page),
 * data (one page and a bit, two pages more of .bss). In memory a page stays free between read-only
 * data and data, and the link address is one gibibyte above the physical one.
 */
#ifndef FAKES_ELF_IMAGE_H
#define FAKES_ELF_IMAGE_H

#include <string.h>

#include "hv/compiler.h"
#include "hv/types.h"
#include "hw/elf.h"
#include "public/lu_abi.h"

#define IMAGE_BASE MIB(2)
#define IMAGE_LINK GIB(1)
#define IMAGE_PHDRS 4U
#define IMAGE_NOTES 0x200U
#define IMAGE_CODE 0x400U /* on purpose not a page boundary of the file */
#define IMAGE_CODE_BYTES 0x1800U
#define IMAGE_RODATA (IMAGE_CODE + IMAGE_CODE_BYTES)
#define IMAGE_RODATA_BYTES 0x333U
#define IMAGE_DATA (IMAGE_RODATA + IMAGE_RODATA_BYTES)
#define IMAGE_DATA_BYTES 0x1010U
#define IMAGE_FILE_BYTES (IMAGE_DATA + IMAGE_DATA_BYTES)
#define IMAGE_RODATA_AT 0x2000U /* in memory, from IMAGE_BASE */
#define IMAGE_DATA_AT 0x4000U
#define IMAGE_MEM_BYTES (IMAGE_DATA_AT + 0x3210U)
#define IMAGE_MEM_PAGES 8U
#define IMAGE_ENTRY 0x123U

struct elf_image {
    struct elf64_header header;
    struct elf64_phdr ph[IMAGE_PHDRS]; /* code, read-only data, data, notes */
    uint8_t gap[IMAGE_NOTES - sizeof(struct elf64_header) - 4 * sizeof(struct elf64_phdr)];
    struct PACKED {
        struct elf_note gnu;
        char gnu_name[4];
        uint8_t build_id[20];
        struct elf_note molt;
        char molt_name[8];
        struct lu_note note;
        struct elf_note seal_head;
        char seal_name[8];
        struct lu_note_seal seal; /* without its hash: fakes/elf_seal.h */
    } notes;
    uint8_t rest[IMAGE_FILE_BYTES - IMAGE_NOTES - 236];
};

_Static_assert(offsetof(struct elf_image, notes) == IMAGE_NOTES, "notes");
_Static_assert(sizeof(struct elf_image) >= IMAGE_FILE_BYTES, "size");

static inline struct elf64_phdr elf_load(uint32_t flags, uint64_t offset, uint64_t at,
                                         uint64_t filesz, uint64_t memsz)
{
    return (struct elf64_phdr){
        .type = ELF_PT_LOAD,
        .flags = flags,
        .offset = offset,
        .vaddr = IMAGE_BASE + IMAGE_LINK + at,
        .paddr = IMAGE_BASE + at,
        .filesz = filesz,
        .memsz = memsz,
        .align = 0x1000,
    };
}

static inline void elf_image_make(struct elf_image *e)
{
    uint8_t *bytes = (uint8_t *)e;

    memset(e, 0, sizeof(*e));
    for (size_t i = IMAGE_CODE; i < IMAGE_FILE_BYTES; i++) {
        bytes[i] = (uint8_t)(i * 13 + (i >> 8) + 1);
    }
    e->header = (struct elf64_header){
        .magic = ELF_MAGIC,
        .class = ELF_CLASS_64,
        .data = ELF_DATA_LSB,
        .ident_version = ELF_VERSION_CURRENT,
        .type = ELF_TYPE_EXEC,
        .machine = ELF_MACHINE_X86_64,
        .version = ELF_VERSION_CURRENT,
        .entry = IMAGE_BASE + IMAGE_LINK + IMAGE_ENTRY,
        .phoff = sizeof(struct elf64_header),
        .ehsize = sizeof(struct elf64_header),
        .phentsize = sizeof(struct elf64_phdr),
        .phnum = IMAGE_PHDRS,
    };
    e->ph[0] = elf_load(ELF_PF_R | ELF_PF_X, IMAGE_CODE, 0, IMAGE_CODE_BYTES, IMAGE_CODE_BYTES);
    e->ph[1] = elf_load(ELF_PF_R, IMAGE_RODATA, IMAGE_RODATA_AT, IMAGE_RODATA_BYTES,
                        IMAGE_RODATA_BYTES);
    e->ph[2] = elf_load(ELF_PF_R | ELF_PF_W, IMAGE_DATA, IMAGE_DATA_AT, IMAGE_DATA_BYTES,
                        IMAGE_MEM_BYTES - IMAGE_DATA_AT);
    e->ph[3] = (struct elf64_phdr){
        .type = ELF_PT_NOTE,
        .flags = ELF_PF_R,
        .offset = IMAGE_NOTES,
        .filesz = sizeof(e->notes),
        .memsz = sizeof(e->notes),
        .align = 4,
    };
    e->notes.gnu = (struct elf_note){4, 20, ELF_NOTE_GNU_BUILD_ID};
    memcpy(e->notes.gnu_name, "GNU", 4);
    for (unsigned int i = 0; i < 20; i++) {
        e->notes.build_id[i] = (uint8_t)(0xf0 + i);
    }
    e->notes.molt = (struct elf_note){5, sizeof(struct lu_note), LU_NOTE_TYPE};
    memcpy(e->notes.molt_name, "molt", 5);
    e->notes.note = (struct lu_note){
        .machine = LU_NOTE_MACHINE_X86_64,
        .stream_min = LU_STREAM_VERSION_MIN,
        .stream_max = LU_STREAM_VERSION,
        .version = "0.1.2",
    };
    e->notes.seal_head = (struct elf_note){5, sizeof(struct lu_note_seal), LU_NOTE_SEAL_TYPE};
    memcpy(e->notes.seal_name, "molt", 5);
    e->notes.seal.features = ~UINT64_C(0);
}

#endif
