/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two ways into a Linux kernel share (core/linux_load.c).
 */
#ifndef CORE_LINUX_PRIV_H
#define CORE_LINUX_PRIV_H

#include "hv/e820.h"
#include "hv/guest_load.h"

#define LINUX_MAP_MAX 6

/* The guest's memory map, sorted; returns the number of entries. */
size_t linux_memory_map(const struct domain *d, struct e820_range map[LINUX_MAP_MAX]);

/* Writes the ACPI tables. 0, -ENOEXEC (too many vCPUs), -ENOSPC, -ENOMEM with *why. */
MUST_CHECK int linux_add_acpi(struct domain *d, unsigned int vcpus, const char **why);

/* Writes the command line to LINUX_CMDLINE_GPA; limit: its longest length. 0, -ENOSPC with *why. */
MUST_CHECK int linux_add_cmdline(struct domain *d, const char *cmdline, uint64_t limit,
                                 const char **why);

/* Writes a module as high as it goes, whole pages of its own in [bottom, *top); *top becomes its
 * address. 0, -ENOSPC with *why. */
MUST_CHECK int linux_add_module(struct domain *d, const struct guest_module *m, uint64_t bottom,
                                uint64_t *top, const char **why);

#endif
