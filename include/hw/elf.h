/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF as the System V ABI and its supplements for i386 and x86-64 define it: what a loader of
 * segments needs.
 */
#ifndef HW_ELF_H
#define HW_ELF_H

#include <stdint.h>

#define ELF_MAGIC 0x464c457fU /* 0x7f 'E' 'L' 'F' */
#define ELF_CLASS_32 1U
#define ELF_CLASS_64 2U
#define ELF_DATA_LSB 1U
#define ELF_VERSION_CURRENT 1U
#define ELF_TYPE_EXEC 2U
#define ELF_MACHINE_386 3U
#define ELF_MACHINE_X86_64 62U

#define ELF_PT_LOAD 1U
#define ELF_PT_NOTE 4U

#define ELF_PF_X 1U
#define ELF_PF_W 2U
#define ELF_PF_R 4U

#define ELF_NOTE_GNU "GNU"
#define ELF_NOTE_GNU_BUILD_ID 3U

struct elf32_header {
    uint32_t magic;
    uint8_t class;
    uint8_t data;
    uint8_t ident_version;
    uint8_t ident_rest[9];
    uint16_t type;
    uint16_t machine;
    uint32_t version;
    uint32_t entry;
    uint32_t phoff;
    uint32_t shoff;
    uint32_t flags;
    uint16_t ehsize;
    uint16_t phentsize;
    uint16_t phnum;
    uint16_t shentsize;
    uint16_t shnum;
    uint16_t shstrndx;
};

struct elf32_phdr {
    uint32_t type;
    uint32_t offset;
    uint32_t vaddr;
    uint32_t paddr;
    uint32_t filesz;
    uint32_t memsz;
    uint32_t flags;
    uint32_t align;
};

struct elf64_header {
    uint32_t magic;
    uint8_t class;
    uint8_t data;
    uint8_t ident_version;
    uint8_t ident_rest[9];
    uint16_t type;
    uint16_t machine;
    uint32_t version;
    uint64_t entry;
    uint64_t phoff;
    uint64_t shoff;
    uint32_t flags;
    uint16_t ehsize;
    uint16_t phentsize;
    uint16_t phnum;
    uint16_t shentsize;
    uint16_t shnum;
    uint16_t shstrndx;
};

struct elf64_phdr {
    uint32_t type;
    uint32_t flags;
    uint64_t offset;
    uint64_t vaddr;
    uint64_t paddr;
    uint64_t filesz;
    uint64_t memsz;
    uint64_t align;
};

struct elf_note {
    uint32_t namesz;
    uint32_t descsz;
    uint32_t type;
};

_Static_assert(sizeof(struct elf32_header) == 52, "elf32_header");
_Static_assert(sizeof(struct elf32_phdr) == 32, "elf32_phdr");
_Static_assert(sizeof(struct elf64_header) == 64, "elf64_header");
_Static_assert(sizeof(struct elf64_phdr) == 56, "elf64_phdr");
_Static_assert(sizeof(struct elf_note) == 12, "elf_note");

#endif
