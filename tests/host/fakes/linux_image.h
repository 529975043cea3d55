/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Made-up kernels: a bzImage, and an ELF file with a PVH note.
 */
#ifndef FAKES_LINUX_IMAGE_H
#define FAKES_LINUX_IMAGE_H

#include <string.h>

#include "hv/types.h"
#include "hw/elf.h"
#include "hw/linux_boot.h"
#include "hw/pvh.h"

/* bzImage: two setup sectors, then code that tells its place. */
#define BZ_SETUP_SECTS 2
#define BZ_KERNEL_AT ((BZ_SETUP_SECTS + 1) * LINUX_SECTOR)
#define BZ_KERNEL_BYTES 0x630U
#define BZ_BYTES (BZ_KERNEL_AT + BZ_KERNEL_BYTES)
#define BZ_PREF MIB(16)
#define BZ_INIT_SIZE 0x345000U

static inline struct linux_setup_header *bz_header(uint8_t *image)
{
    return (struct linux_setup_header *)(image + LINUX_HEADER);
}

static inline void bz_make(uint8_t image[BZ_BYTES])
{
    struct linux_setup_header *h = bz_header(image);

    for (unsigned int i = 0; i < BZ_BYTES; i++) {
        image[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    memset(image, 0, BZ_KERNEL_AT);
    h->setup_sects = BZ_SETUP_SECTS;
    h->syssize = BZ_KERNEL_BYTES / 16;
    h->boot_flag = LINUX_BOOT_FLAG;
    h->jump = 0x6aeb; /* the header ends at 0x26c, as of 2.15 */
    h->header = LINUX_MAGIC;
    h->version = 0x20f;
    h->loadflags = LINUX_LOADFLAG_HIGH;
    h->initrd_addr_max = 0x7fffffff;
    h->kernel_alignment = MIB(2);
    h->relocatable_kernel = 1;
    h->min_alignment = 21;
    h->xloadflags = LINUX_XLF_KERNEL_64;
    h->cmdline_size = 2047;
    h->setup_data = 0x1234; /* no business of a file's */
    h->pref_address = BZ_PREF;
    h->init_size = BZ_INIT_SIZE;
    image[0x268] = 0x99; /* a field that is newer than our structure */
    image[0x26c] = 0x98; /* not of the header any more */
}

/* PVH: one segment of code and data at 1 MiB, one note segment with another note before ours. */
#define PVH_CODE_AT 0x200U
#define PVH_CODE_BYTES 0x300U
#define PVH_LOAD MIB(1)
#define PVH_MEM_BYTES 0x5000U
#define PVH_VIRT 0xffffffff80000000UL
#define PVH_ENTRY (PVH_LOAD + 0x40)
#define PVH_BYTES (PVH_CODE_AT + PVH_CODE_BYTES)
#define PVH_NOTES_AT 0x140U

struct pvh_notes {
    struct elf_note other;
    char other_name[8];    /* "GNUish", padded */
    uint8_t other_desc[8]; /* 5 bytes, padded */
    struct elf_note ours;
    char name[4];
    uint64_t entry; /* 4 bytes of it in a 32-bit file */
} __attribute__((packed));

static inline struct pvh_notes *pvh_notes(uint8_t *image)
{
    return (struct pvh_notes *)(image + PVH_NOTES_AT);
}

static inline size_t pvh_notes_bytes(bool elf64)
{
    return sizeof(struct pvh_notes) - (elf64 ? 0 : 4);
}

static inline void pvh_make_headers64(uint8_t *image)
{
    struct elf64_header e = {.machine = ELF_MACHINE_X86_64,
                             .type = ELF_TYPE_EXEC,
                             .phoff = sizeof(e),
                             .phentsize = sizeof(struct elf64_phdr),
                             .phnum = 2,
                             .entry = 0x1000}; /* in no segment, as Linux's */
    struct elf64_phdr p[2] = {
        {ELF_PT_LOAD, ELF_PF_X, PVH_CODE_AT, PVH_VIRT, PVH_LOAD, PVH_CODE_BYTES, PVH_MEM_BYTES, 16},
        {ELF_PT_NOTE, 0, PVH_NOTES_AT, 0, 0, pvh_notes_bytes(true), pvh_notes_bytes(true), 4},
    };

    e.magic = ELF_MAGIC;
    e.class = ELF_CLASS_64;
    e.data = ELF_DATA_LSB;
    memcpy(image, &e, sizeof(e));
    memcpy(image + sizeof(e), p, sizeof(p));
}

static inline void pvh_make_headers32(uint8_t *image)
{
    struct elf32_header e = {.machine = ELF_MACHINE_386,
                             .type = ELF_TYPE_EXEC,
                             .phoff = sizeof(e),
                             .phentsize = sizeof(struct elf32_phdr),
                             .phnum = 2,
                             .entry = PVH_LOAD + 8};
    struct elf32_phdr p[2] = {
        {ELF_PT_LOAD, PVH_CODE_AT, PVH_LOAD, PVH_LOAD, PVH_CODE_BYTES, PVH_MEM_BYTES, 0, 16},
        {ELF_PT_NOTE, PVH_NOTES_AT, 0, 0, (uint32_t)pvh_notes_bytes(false),
         (uint32_t)pvh_notes_bytes(false), 0, 4},
    };

    e.magic = ELF_MAGIC;
    e.class = ELF_CLASS_32;
    e.data = ELF_DATA_LSB;
    memcpy(image, &e, sizeof(e));
    memcpy(image + sizeof(e), p, sizeof(p));
}

static inline void pvh_make(uint8_t image[PVH_BYTES], bool elf64)
{
    struct pvh_notes n = {.other = {7, 5, PVH_NOTE_PHYS32_ENTRY},
                          .other_name = "GNUish",
                          .ours = {4, elf64 ? 8 : 4, PVH_NOTE_PHYS32_ENTRY},
                          .name = PVH_NOTE_NAME,
                          .entry = PVH_ENTRY};

    memset(image, 0, PVH_BYTES);
    for (unsigned int i = 0; i < PVH_CODE_BYTES; i++) {
        image[PVH_CODE_AT + i] = (uint8_t)(i * 5 + 1);
    }
    if (elf64) {
        pvh_make_headers64(image);
    } else {
        pvh_make_headers32(image);
    }
    memcpy(image + PVH_NOTES_AT, &n, pvh_notes_bytes(elf64));
}

#endif
