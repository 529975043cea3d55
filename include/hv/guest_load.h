/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds guests from multiboot2 modules: Linux, PVH, multiboot1 and multiboot2 payloads.
 */
#ifndef HV_GUEST_LOAD_H
#define HV_GUEST_LOAD_H

#include "hv/compiler.h"
#include "hv/domain.h"
#include "hv/mb2.h"

#define GUEST_MEMORY_DEFAULT MIB(64)
#define GUEST_MEMORY_MIN MIB(2)

/* A guest's physical memory: all of it below here is one piece, but guests are told to leave the
 * BIOS area alone. */
#define GUEST_BIOS_START 0xa0000UL
#define GUEST_BIOS_END 0x100000UL
#define GUEST_LOW_END GIB(3)

/* Something that the guest finds as a boot module. */
struct guest_module {
    const uint8_t *data;
    uint64_t bytes;
    const char *cmdline;
};

/* What a guest is made from. */
struct guest_payload {
    const uint8_t *data;
    uint64_t bytes;
    const char *cmdline;
    const struct guest_module *modules;
    size_t nr_modules;
    unsigned int vcpus;
};

/*
 * Loads a payload into the domain's memory, fresh and zeroed, with its modules and boot
 * information, and fills the first vCPU's first state. In this order: a Linux bzImage
 * (hv/linux_load.h), an ELF file with a PVH note, one with a multiboot1 header, one with a
 * multiboot2 header. Pure but for guest memory. 0, -ENOEXEC (none of them, damaged, unsupported),
 * -ENOSPC (does not fit in its memory) or -ENOMEM, with *why.
 */
MUST_CHECK int guest_load(struct domain *d, const struct guest_payload *payload,
                          struct vcpu_state *state, const char **why);

/* 32-bit protected mode, flat segments, no paging, interrupts off: how multiboot and PVH start. */
void guest_state_flat32(struct vcpu_state *state, uint64_t entry);

/* Creates a domain for every "guest ..." module; failures are printed and that guest is left out.
 * Cold boot only, heap open. */
void guests_create(const struct boot_info *info);

#endif
