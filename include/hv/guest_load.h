/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds guests from multiboot2 modules: multiboot1 and multiboot2 ELF payloads.
 */
#ifndef HV_GUEST_LOAD_H
#define HV_GUEST_LOAD_H

#include "hv/compiler.h"
#include "hv/domain.h"
#include "hv/mb2.h"

#define GUEST_MEMORY_DEFAULT MIB(64)
#define GUEST_MEMORY_MIN MIB(2)

/* Something that the guest finds as a boot module. */
struct guest_module {
    const uint8_t *data;
    uint64_t bytes;
    const char *cmdline;
};

/*
 * Loads an ELF payload into the domain's memory (multiboot1 if it has that header, else
 * multiboot2), its modules and boot information behind it, and fills the vCPU's first state. Pure
 * but for guest memory. 0, -ENOEXEC (no header, damaged or unsupported ELF) or -ENOSPC (does not
 * fit in its memory), with *why.
 */
MUST_CHECK int guest_load(struct domain *d, const uint8_t *elf, uint64_t len, const char *cmdline,
                          const struct guest_module *modules, size_t nr_modules,
                          struct vcpu_state *state, const char **why);

/* Creates a domain for every "guest ..." module; failures are printed and that guest is left out.
 * Cold boot only, heap open. */
void guests_create(const struct boot_info *info);

#endif
