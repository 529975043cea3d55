/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF kernels with a PVH entry point into guest memory: Linux's vmlinux and others.
 *
 * "x86/HVM direct boot ABI": machine state, struct hvm_start_info. The entry point is what the ELF
 * note XEN_ELFNOTE_PHYS32_ENTRY holds. The file is untrusted.
 * Host test: tests/host/test_linux_load.c
 */
#include "hv/linux_load.h"

#include "linux_priv.h"

#include "hv/acpi.h"
#include "hv/errno.h"
#include "hv/guest_elf.h"
#include "hv/string.h"
#include "hw/pvh.h"

#define MODLIST_ROOM (LINUX_CMDLINE_GPA - LINUX_MODLIST_GPA)

static int refuse(const char **why, int rc, const char *text)
{
    *why = text;
    return rc;
}

/* The note's address: 4 bytes, or 8 of which the upper half is zero. */
static bool entry_point(const struct elf_file *f, uint32_t *entry)
{
    const uint8_t *desc;
    uint32_t bytes;
    uint64_t value = 0;

    if (!elf_note(f, PVH_NOTE_NAME, PVH_NOTE_PHYS32_ENTRY, &desc, &bytes) ||
        (bytes != sizeof(uint32_t) && bytes != sizeof(uint64_t))) {
        return false;
    }
    memcpy(&value, desc, bytes);
    *entry = (uint32_t)value;
    return value <= UINT32_MAX;
}

bool pvh_is_kernel(const struct guest_payload *p)
{
    const char *why;
    struct elf_file f;
    uint32_t entry;

    return elf_open(&f, p->data, p->bytes, &why) == 0 && entry_point(&f, &entry);
}

/*
 * The list grows from its start, the modules' strings behind the whole list; the modules themselves
 * go from the end of low memory down to the kernel.
 */
static int add_modules(struct domain *d, const struct guest_payload *p, uint64_t kernel_end,
                       const char **why)
{
    uint64_t top = MIN(d->memory_bytes, GUEST_LOW_END);
    uint64_t text, list = LINUX_MODLIST_GPA;

    if (p->nr_modules > MODLIST_ROOM / sizeof(struct pvh_module)) {
        return refuse(why, -ENOSPC, "more modules than the boot information has room for");
    }
    text = list + p->nr_modules * sizeof(struct pvh_module);
    for (size_t i = 0; i < p->nr_modules; i++) {
        const struct guest_module *m = &p->modules[i];
        size_t text_bytes = strlen(m->cmdline) + 1;
        struct pvh_module entry = {.bytes = m->bytes, .cmdline = text};
        int rc = linux_add_module(d, m, kernel_end, &top, why);

        if (rc != 0) {
            return rc;
        }
        if (text_bytes > LINUX_CMDLINE_GPA - text) {
            return refuse(why, -ENOSPC, "the modules' command lines are too long");
        }
        entry.start = top;
        if (domain_write(d, text, m->cmdline, text_bytes) != 0 ||
            domain_write(d, list, &entry, sizeof(entry)) != 0) {
            return refuse(why, -ENOSPC, "the guest's memory has no room for boot information");
        }
        text += text_bytes;
        list += sizeof(entry);
    }
    return 0;
}

static int write_start_info(struct domain *d, const struct guest_payload *p, const char **why)
{
    struct {
        struct pvh_start_info info;
        struct pvh_memmap_entry map[LINUX_MAP_MAX];
    } block = {
        .info = {.magic = PVH_START_MAGIC,
                 .version = PVH_START_VERSION,
                 .nr_modules = (uint32_t)p->nr_modules,
                 .modlist = p->nr_modules != 0 ? LINUX_MODLIST_GPA : 0,
                 .cmdline = LINUX_CMDLINE_GPA,
                 .rsdp = ACPI_TABLES_GPA,
                 .memmap = LINUX_PVH_INFO_GPA + sizeof(block.info)},
    };
    struct e820_range map[LINUX_MAP_MAX];
    size_t n = linux_memory_map(d, map);

    for (size_t i = 0; i < n; i++) {
        block.map[i] = (struct pvh_memmap_entry){map[i].start, map[i].end - map[i].start,
                                                 map[i].type, 0};
    }
    block.info.memmap_entries = (uint32_t)n;
    if (domain_write(d, LINUX_PVH_INFO_GPA, &block, sizeof(block)) != 0) {
        return refuse(why, -ENOSPC, "the guest's memory has no room for boot information");
    }
    return 0;
}

int pvh_load(struct domain *d, const struct guest_payload *p, struct vcpu_state *state,
             const char **why)
{
    struct elf_file f;
    struct elf_image image;
    uint32_t entry;
    int rc = elf_open(&f, p->data, p->bytes, why);

    if (rc != 0) {
        return rc;
    }
    if (!entry_point(&f, &entry)) {
        return refuse(why, -ENOEXEC, "an ELF file without PVH entry point");
    }
    if (!elf_loads(&f, entry)) {
        return refuse(why, -ENOEXEC, "the PVH entry point lies in no segment");
    }
    rc = elf_load(d, &f, GUEST_LOW_END, &image, why);
    if (rc == 0 && image.start < GUEST_BIOS_END) {
        rc = refuse(why, -ENOEXEC, "a PVH kernel with a segment below 1 MiB");
    }
    if (rc == 0) {
        rc = linux_add_cmdline(d, p->cmdline, LINUX_CMDLINE_ROOM, why);
    }
    if (rc == 0) {
        rc = add_modules(d, p, image.end, why);
    }
    if (rc == 0) {
        rc = write_start_info(d, p, why);
    }
    if (rc == 0) {
        rc = linux_add_acpi(d, p->vcpus, why);
    }
    if (rc == 0) {
        guest_state_flat32(state, entry);
        state->gpr[GPR_RBX] = LINUX_PVH_INFO_GPA;
    }
    return rc;
}
