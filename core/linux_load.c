/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux bzImage into guest memory, by the 64-bit boot protocol.
 *
 * "The Linux/x86 Boot Protocol": "Details of Header Fields", "64-bit Boot Protocol"; "Zero Page".
 * The file is untrusted: every number in its header is checked before it is used.
 * Host test: tests/host/test_linux_load.c
 */
#include "hv/linux_load.h"

#include "linux_priv.h"

#include "hv/acpi.h"
#include "hv/errno.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hv/vioapic.h"
#include "hv/vlapic.h"
#include "hw/linux_boot.h"
#include "hw/multiboot.h"
#include "hw/x86.h"

#define FLAT_LIMIT 0xffffffffU
#define ACCESS_CODE64 0xa09bU
#define ACCESS_DATA32 0xc093U
#define ACCESS_TSS_BUSY 0x8bU
#define TSS_LIMIT 0x67U

/* The same two segments as descriptors. SDM volume 3, "Segment Descriptors". */
#define DESCRIPTOR_CODE64 0x00af9b000000ffffUL
#define DESCRIPTOR_DATA32 0x00cf93000000ffffUL
#define GDT_ENTRIES 4

#define IDENTITY_GIB 4U
#define TABLE_ENTRIES 512U
#define LARGE_PAGE MIB(2)
#define WRITE_BATCH 64U /* page-table entries */

struct bzimage {
    struct domain *d;
    const struct guest_payload *p;
    struct linux_setup_header h;
    uint64_t header_bytes; /* as many as the file has of it */
    uint64_t kernel_at;    /* the protected-mode part: file offset, size */
    uint64_t kernel_bytes;
    uint64_t start, end; /* where it may write before it reads the memory map: guest-physical */
    const char **why;
};

static int refuse(const char **why, int rc, const char *text)
{
    *why = text;
    return rc;
}

/* ---- shared with pvh_load.c ---- */

size_t linux_memory_map(const struct domain *d, struct e820_range map[LINUX_MAP_MAX])
{
    uint64_t low = MIN(d->memory_bytes, GUEST_LOW_END);
    size_t n = 0;

    map[n++] = (struct e820_range){0, GUEST_BIOS_START, E820_RAM};
    map[n++] = (struct e820_range){GUEST_BIOS_START, GUEST_BIOS_END, MB_MEMORY_RESERVED};
    map[n++] = (struct e820_range){GUEST_BIOS_END, low, E820_RAM};
    map[n++] = (struct e820_range){VIOAPIC_MMIO_BASE, VIOAPIC_MMIO_BASE + PAGE_SIZE,
                                   MB_MEMORY_RESERVED};
    map[n++] = (struct e820_range){VLAPIC_MMIO_BASE, VLAPIC_MMIO_BASE + PAGE_SIZE,
                                   MB_MEMORY_RESERVED};
    if (d->memory_bytes > low) {
        map[n++] = (struct e820_range){GIB(4), GIB(4) + d->memory_bytes - low, E820_RAM};
    }
    return n;
}

/* What a PC's BIOS has at the reset vector. Linux on a hardware-reduced machine without EFI reboots
 * by going there in real mode: mov dx, 0xcf9; mov al, 6; out dx, al; hlt. */
#define RESET_VECTOR_GPA 0xffff0UL
static const uint8_t reset_code[] = {
    0xba, ACPI_PORT_RESET & 0xff, ACPI_PORT_RESET >> 8, 0xb0, ACPI_RESET_VALUE, 0xee, 0xf4};

int linux_add_acpi(struct domain *d, unsigned int vcpus, const char **why)
{
    uint8_t *tables = kzalloc(ACPI_TABLES_ROOM);
    int bytes, rc;

    _Static_assert(ACPI_TABLES_GPA >= GUEST_BIOS_START &&
                       ACPI_TABLES_GPA + ACPI_TABLES_ROOM <= GUEST_BIOS_END,
                   "ACPI tables lie in reserved memory");
    if (tables == NULL) {
        return refuse(why, -ENOMEM, "out of memory");
    }
    bytes = acpi_build(tables, ACPI_TABLES_ROOM, ACPI_TABLES_GPA, vcpus);
    if (bytes < 0) {
        rc = refuse(why, -ENOEXEC, "no ACPI tables for that number of vCPUs");
    } else if (domain_write(d, ACPI_TABLES_GPA, tables, (uint64_t)bytes) != 0 ||
               domain_write(d, RESET_VECTOR_GPA, reset_code, sizeof(reset_code)) != 0) {
        rc = refuse(why, -ENOSPC, "the guest's memory has no room for ACPI tables");
    } else {
        rc = 0;
    }
    kfree(tables);
    return rc;
}

int linux_add_cmdline(struct domain *d, const char *cmdline, uint64_t limit, const char **why)
{
    size_t bytes = strlen(cmdline);

    if (bytes > limit || bytes >= LINUX_CMDLINE_ROOM) {
        return refuse(why, -ENOSPC, "the command line is longer than the kernel takes");
    }
    if (domain_write(d, LINUX_CMDLINE_GPA, cmdline, bytes + 1) != 0) {
        return refuse(why, -ENOSPC, "the guest's memory has no room for the command line");
    }
    return 0;
}

int linux_add_module(struct domain *d, const struct guest_module *m, uint64_t bottom, uint64_t *top,
                     const char **why)
{
    uint64_t start;

    if (*top <= bottom || m->bytes > *top - bottom) {
        return refuse(why, -ENOSPC, "the initrd does not fit in the guest's memory");
    }
    start = align_down(*top - m->bytes, PAGE_SIZE);
    if (start < bottom || domain_write(d, start, m->data, m->bytes) != 0) {
        return refuse(why, -ENOSPC, "the initrd does not fit in the guest's memory");
    }
    *top = start;
    return 0;
}

/* ---- the header ---- */

static bool read_magic(const struct guest_payload *p, uint16_t *boot_flag, uint32_t *magic)
{
    const size_t flag_at = LINUX_HEADER + offsetof(struct linux_setup_header, boot_flag);

    if (p->bytes < LINUX_HEADER + sizeof(struct linux_setup_header)) {
        return false;
    }
    memcpy(boot_flag, p->data + flag_at, sizeof(*boot_flag));
    memcpy(magic, p->data + LINUX_HEADER_MAGIC_AT, sizeof(*magic));
    return true;
}

bool linux_is_bzimage(const struct guest_payload *p)
{
    uint16_t boot_flag;
    uint32_t magic;

    return read_magic(p, &boot_flag, &magic) && boot_flag == LINUX_BOOT_FLAG &&
           magic == LINUX_MAGIC;
}

static int read_header(struct bzimage *k)
{
    const uint8_t *data = k->p->data;
    uint64_t setup_sects, end;

    if (!linux_is_bzimage(k->p)) {
        return refuse(k->why, -ENOEXEC, "not a Linux bzImage");
    }
    memcpy(&k->h, data + LINUX_HEADER, sizeof(k->h));
    end = LINUX_HEADER_MAGIC_AT + data[LINUX_HEADER_JUMP];
    if (k->h.version < LINUX_VERSION_MIN || end < LINUX_HEADER + sizeof(k->h)) {
        return refuse(k->why, -ENOEXEC, "a Linux older than boot protocol 2.12");
    }
    if (!(k->h.xloadflags & LINUX_XLF_KERNEL_64) || !(k->h.loadflags & LINUX_LOADFLAG_HIGH)) {
        return refuse(k->why, -ENOEXEC, "a Linux without 64-bit entry point");
    }
    setup_sects = k->h.setup_sects != 0 ? k->h.setup_sects : LINUX_SETUP_SECTS_DEFAULT;
    k->kernel_at = (setup_sects + 1) * LINUX_SECTOR;
    k->header_bytes = MIN(end, LINUX_HEADER_LIMIT) - LINUX_HEADER;
    if (k->p->bytes <= k->kernel_at + LINUX_ENTRY_64 ||
        LINUX_HEADER + k->header_bytes > k->kernel_at) {
        return refuse(k->why, -ENOEXEC, "a Linux bzImage cut short");
    }
    k->kernel_bytes = k->p->bytes - k->kernel_at;
    if (UINT64_C(16) * k->h.syssize > align_up(k->kernel_bytes, 16)) {
        return refuse(k->why, -ENOEXEC, "a Linux bzImage cut short");
    }
    return 0;
}

/* pref_address: a kernel below it moves itself there, so there is nothing to win by going lower. */
static int find_place(struct bzimage *k)
{
    uint64_t low = MIN(k->d->memory_bytes, GUEST_LOW_END);
    uint64_t align = k->h.relocatable_kernel ? k->h.kernel_alignment : 1;
    uint64_t room = MAX(k->kernel_bytes, (uint64_t)k->h.init_size);

    if (align == 0 || (align & (align - 1)) != 0) {
        return refuse(k->why, -ENOEXEC, "a Linux bzImage whose alignment is no power of two");
    }
    if (k->h.pref_address > low || room > low) {
        return refuse(k->why, -ENOSPC, "the kernel does not fit in the guest's memory");
    }
    k->start = k->h.pref_address;
    if (k->h.relocatable_kernel) {
        k->start = align_up(MAX(k->start, GUEST_BIOS_END), align);
    }
    if (k->start < GUEST_BIOS_END) {
        return refuse(k->why, -ENOEXEC, "a Linux bzImage for an address below 1 MiB");
    }
    if (k->start > low || room > low - k->start) {
        return refuse(k->why, -ENOSPC, "the kernel does not fit in the guest's memory");
    }
    k->end = k->start + room;
    return 0;
}

/* ---- what the kernel finds ---- */

static int write_zero_page(struct bzimage *k)
{
    struct e820_range map[LINUX_MAP_MAX];
    size_t n = linux_memory_map(k->d, map);
    uint8_t *page = kzalloc(LINUX_ZP_BYTES);
    const uint64_t rsdp = ACPI_TABLES_GPA;
    int rc = 0;

    _Static_assert(LINUX_MAP_MAX <= LINUX_ZP_E820_MAX, "the zero page's memory map");
    if (page == NULL) {
        return refuse(k->why, -ENOMEM, "out of memory");
    }
    /* Zero but for the header: what a loader does not know has to be zero, the sentinel too. First
     * as the file has it, for fields newer than ours, then with what was filled in. */
    memcpy(page + LINUX_HEADER, k->p->data + LINUX_HEADER, k->header_bytes);
    memcpy(page + LINUX_HEADER, &k->h, sizeof(k->h));
    memcpy(page + LINUX_ZP_ACPI_RSDP, &rsdp, sizeof(rsdp));
    page[LINUX_ZP_E820_ENTRIES] = (uint8_t)n;
    for (size_t i = 0; i < n; i++) {
        const struct linux_e820_entry e = {map[i].start, map[i].end - map[i].start, map[i].type};

        memcpy(page + LINUX_ZP_E820_TABLE + i * sizeof(e), &e, sizeof(e));
    }
    if (domain_write(k->d, LINUX_ZERO_PAGE_GPA, page, LINUX_ZP_BYTES) != 0) {
        rc = refuse(k->why, -ENOSPC, "the guest's memory has no room for boot parameters");
    }
    kfree(page);
    return rc;
}

/* Writes `count` entries value, value + step, ... */
static int write_entries(struct domain *d, uint64_t gpa, uint64_t count, uint64_t value,
                         uint64_t step)
{
    uint64_t entries[WRITE_BATCH];
    uint64_t done = 0;

    while (done < count) {
        uint64_t n = MIN(count - done, (uint64_t)WRITE_BATCH);

        for (uint64_t i = 0; i < n; i++) {
            entries[i] = value + (done + i) * step;
        }
        if (domain_write(d, gpa + done * sizeof(entries[0]), entries, n * sizeof(entries[0])) !=
            0) {
            return -EFAULT;
        }
        done += n;
    }
    return 0;
}

/* PML4, page-directory-pointer table and page directories with 2 MiB pages: 4 GiB one to one. SDM
 * volume 3, "4-Level Paging and 5-Level Paging". */
static int write_tables(struct bzimage *k)
{
    static const uint64_t gdt[GDT_ENTRIES] = {[LINUX_BOOT_CS / 8] = DESCRIPTOR_CODE64,
                                              [LINUX_BOOT_DS / 8] = DESCRIPTOR_DATA32};
    const uint64_t pdpt = LINUX_TABLES_GPA + PAGE_SIZE;
    const uint64_t directories = pdpt + PAGE_SIZE;

    if (write_entries(k->d, LINUX_TABLES_GPA, 1, pdpt | PTE_P | PTE_W, 0) != 0 ||
        write_entries(k->d, pdpt, IDENTITY_GIB, directories | PTE_P | PTE_W, PAGE_SIZE) != 0 ||
        write_entries(k->d, directories, (uint64_t)IDENTITY_GIB * TABLE_ENTRIES,
                      PTE_PS | PTE_P | PTE_W, LARGE_PAGE) != 0 ||
        domain_write(k->d, LINUX_GDT_GPA, gdt, sizeof(gdt)) != 0) {
        return refuse(k->why, -ENOSPC, "the guest's memory has no room for page tables");
    }
    return 0;
}

/* "64-bit Boot Protocol": its last paragraphs. */
static void first_state(const struct bzimage *k, struct vcpu_state *s)
{
    vcpu_state_reset(s);
    for (unsigned int i = 0; i < SEG_LDTR; i++) {
        s->seg[i] = (struct segment_reg){
            .selector = LINUX_BOOT_DS, .base = 0, .limit = FLAT_LIMIT, .access = ACCESS_DATA32};
    }
    s->seg[SEG_CS].selector = LINUX_BOOT_CS;
    s->seg[SEG_CS].access = ACCESS_CODE64;
    s->seg[SEG_LDTR] = (struct segment_reg){.access = SEG_UNUSABLE};
    s->seg[SEG_TR] = (struct segment_reg){.limit = TSS_LIMIT, .access = ACCESS_TSS_BUSY};
    s->gdtr = (struct table_reg){LINUX_GDT_GPA, GDT_ENTRIES * 8 - 1};
    s->idtr = (struct table_reg){0, 0};
    s->cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s->cr3 = LINUX_TABLES_GPA;
    s->cr4 = CR4_PAE;
    s->efer = EFER_LME | EFER_LMA;
    s->rip = k->start + LINUX_ENTRY_64;
    s->gpr[GPR_RSI] = LINUX_ZERO_PAGE_GPA;
    s->gpr[GPR_RSP] = LINUX_ZERO_PAGE_GPA; /* not asked for: some pages of stack below it */
}

int linux_load(struct domain *d, const struct guest_payload *p, struct vcpu_state *state,
               const char **why)
{
    struct bzimage k = {.d = d, .p = p, .why = why};
    uint64_t top;
    int rc = read_header(&k);

    if (rc == 0) {
        rc = find_place(&k);
    }
    if (rc == 0 && domain_write(d, k.start, p->data + k.kernel_at, k.kernel_bytes) != 0) {
        rc = refuse(why, -ENOSPC, "the kernel does not fit in the guest's memory");
    }
    if (rc == 0) {
        rc = linux_add_cmdline(d, p->cmdline, k.h.cmdline_size, why);
    }
    if (rc == 0 && p->nr_modules > 0 && p->modules[0].bytes > 0) {
        top = MIN(MIN(d->memory_bytes, GUEST_LOW_END), (uint64_t)k.h.initrd_addr_max + 1);
        rc = linux_add_module(d, &p->modules[0], k.end, &top, why);
        k.h.ramdisk_image = (uint32_t)top;
        k.h.ramdisk_size = (uint32_t)p->modules[0].bytes;
    } else {
        k.h.ramdisk_image = 0;
        k.h.ramdisk_size = 0;
    }
    if (rc != 0) {
        return rc;
    }
    k.h.vid_mode = LINUX_VID_NORMAL;
    k.h.type_of_loader = LINUX_LOADER_OTHER;
    k.h.code32_start = (uint32_t)k.start;
    k.h.cmd_line_ptr = LINUX_CMDLINE_GPA;
    k.h.setup_data = 0;
    rc = write_zero_page(&k);
    if (rc == 0) {
        rc = write_tables(&k);
    }
    if (rc == 0) {
        rc = linux_add_acpi(d, p->vcpus, why);
    }
    if (rc == 0) {
        first_state(&k, state);
    }
    return rc;
}
