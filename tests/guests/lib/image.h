/* SPDX-License-Identifier: Apache-2.0 */
/*
 * molt images in a guest's memory: their ELF notes, and page lists for HC_LU_LOAD.
 */
#ifndef GUEST_IMAGE_H
#define GUEST_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "public/hypercall.h"

#define BUILD_ID_CHARS 48

struct elf64_header {
    uint8_t ident[16];
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

struct elf64_segment {
    uint32_t type;
    uint32_t flags;
    uint64_t offset;
    uint64_t vaddr;
    uint64_t paddr;
    uint64_t filesz;
    uint64_t memsz;
    uint64_t align;
};

#define ELF_CLASS 4 /* index into ident */
#define ELF_DATA 5
#define ELF_CLASS32 1
#define ELF_BIG_ENDIAN 2
#define ELF_TYPE_REL 1
#define ELF_MACHINE_386 3
#define ELF_PT_LOAD 1U
#define ELF_PT_NOTE 4U
#define ELF_PF_X 1U
#define ELF_PF_W 2U

struct image {
    uint8_t *data;
    uint64_t bytes;
};

struct elf64_header *image_header(const struct image *image);
struct elf64_segment *image_segment(const struct image *image, unsigned int index);
/* Finds a note in the PT_NOTE segments: its name and descriptor, in place. False if not there. */
bool image_note(const struct image *image, const char *name, uint32_t type, char **name_at,
                void **desc, uint32_t *desc_bytes);
/* The GNU build id as lower-case hex; false if there is none. */
bool image_build_id(const struct image *image, char *hex);
/* The first boot module that is an image with another build id; false if there is none. */
bool image_other(const char *running, struct image *image);

/* Pages for copies of images of up to so many bytes: twice as many as needed, list included. */
void image_pages_init(uint64_t bytes);
/* Copies the image to pages picked at random, and fills load to name them in order. */
void image_scatter(const struct image *image, uint64_t *random, struct hc_lu_load *load);
/* The list that image_scatter() made. */
uint64_t *image_page_list(void);
/* Overwrites every page of the pool. */
void image_pages_scribble(void);

#endif
