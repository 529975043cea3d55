/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux guests: bzImage by the 64-bit boot protocol (core/linux_load.c), and any ELF kernel with a
 * PVH note, such as an uncompressed vmlinux (core/pvh_load.c).
 *
 * Both get ACPI tables (hv/acpi.h), a memory map that reserves the BIOS area and the APICs' pages,
 * and the addresses below. Their boot information is in low memory, so the kernel has to be at
 * 1 MiB or above.
 */
#ifndef HV_LINUX_LOAD_H
#define HV_LINUX_LOAD_H

#include "hv/compiler.h"
#include "hv/guest_load.h"

#define LINUX_PVH_INFO_GPA 0x6000UL  /* PVH: start information, memory map */
#define LINUX_ZERO_PAGE_GPA 0x7000UL /* bzImage: struct boot_params */
#define LINUX_GDT_GPA 0x8000UL       /* bzImage */
#define LINUX_TABLES_GPA 0x9000UL    /* bzImage: page tables, six pages */
#define LINUX_MODLIST_GPA 0x10000UL  /* PVH: module list, up to LINUX_CMDLINE_GPA */
#define LINUX_CMDLINE_GPA 0x20000UL
#define LINUX_CMDLINE_ROOM KIB(64) /* with the terminating zero */

/* Has it a setup header? Of any version: linux_load() says what is wrong with it. */
bool linux_is_bzimage(const struct guest_payload *p);

/*
 * bzImage: protocol 2.12 or later with a 64-bit entry point. The first module is the initrd, as
 * high as the kernel takes it below 3 GiB; others are ignored. The kernel needs pref_address +
 * init_size of memory. 0, -ENOEXEC, -ENOSPC or -ENOMEM with *why.
 */
MUST_CHECK int linux_load(struct domain *d, const struct guest_payload *p, struct vcpu_state *state,
                          const char **why);

/* An ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY? */
bool pvh_is_kernel(const struct guest_payload *p);

/* PVH: 32-bit entry with struct hvm_start_info version 1. All modules are in its list with their
 * strings; Linux takes the first as its initrd. 0, -ENOEXEC, -ENOSPC or -ENOMEM with *why. */
MUST_CHECK int pvh_load(struct domain *d, const struct guest_payload *p, struct vcpu_state *state,
                        const char **why);

#endif
