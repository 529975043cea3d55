/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boot modules: multiboot2 modules by kind (first word of their command line), and the list of
 * update images that is kept over updates.
 */
#ifndef HV_MODULES_H
#define HV_MODULES_H

#include "hv/cmdline.h"
#include "hv/compiler.h"
#include "hv/mb2.h"
#include "hv/types.h"

struct image_module {
    LAYOUT(paddr_t start; uint64_t bytes;, char *cmdline; struct image_module *next;)
};

extern struct image_module *image_modules;

/* Claims every module's frames (FRAME_MODULE), before the heap opens. Panics when the boot loader
 * put two modules into one page. */
void modules_claim(const struct boot_info *info);

/* Keeps "image" modules on the list; gives the frames of all others back to the heap. */
void modules_keep_images(const struct boot_info *info);

/* Adds one image at the end (adoption; frames are claimed already). 0 or -ENOMEM. */
MUST_CHECK int modules_add_image(paddr_t start, uint64_t bytes, const char *cmdline, size_t len);

struct image_module *modules_image(unsigned int index);
unsigned int modules_images(void);

/* First word equals kind. */
bool module_is(const char *cmdline, const char *kind);

#endif
