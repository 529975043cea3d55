/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux and PVH kernels in guest memory, and which loader takes which file.
 */
#include "hv/linux_load.h"

#include <stdlib.h>
#include <string.h>

#include "../../vmx/vmx_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/guest_ram.h"
#include "fakes/linux_image.h"
#include "hv/acpi.h"
#include "hv/errno.h"
#include "hw/acpi.h"
#include "hw/multiboot.h"
#include "hw/x86.h"

#define INITRD_BYTES 0x2345U

static struct domain dom;
static struct vcpu_state vcpu;
static const char *why;
static uint8_t bz[BZ_BYTES];
static uint8_t pvh[PVH_BYTES];
static uint8_t initrd[INITRD_BYTES];
static struct guest_module modules[2];

static int setup(void **state)
{
    (void)state;
    guest_ram_init(&dom, MIB(64));
    guest_ram_fail_alloc_after(-1);
    bz_make(bz);
    pvh_make(pvh, true);
    for (size_t i = 0; i < sizeof(initrd); i++) {
        initrd[i] = (uint8_t)(i * 11 + 3);
    }
    modules[0] = (struct guest_module){initrd, sizeof(initrd), "first words"};
    modules[1] = (struct guest_module){initrd, 100, "second"};
    memset(&vcpu, 0xee, sizeof(vcpu));
    why = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(guest_ram_objects(), 0);
    return 0;
}

static int load(const uint8_t *data, size_t bytes, size_t nr_modules)
{
    const struct guest_payload p = {.data = data,
                                    .bytes = bytes,
                                    .cmdline = "console=ttyS0 quiet",
                                    .modules = modules,
                                    .nr_modules = nr_modules,
                                    .vcpus = 1};

    return guest_load(&dom, &p, &vcpu, &why);
}

/* From an allocation of just that size, so that ASan sees a byte too far. */
static int load_copy(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy + 1, data, bytes);
    rc = load(copy + 1, bytes, 1);
    free(copy);
    return rc;
}

static uint64_t ram64(uint64_t gpa)
{
    uint64_t v;

    memcpy(&v, guest_ram(&dom, gpa, 8), 8);
    return v;
}

/* 4-level walk; large pages at 2 MiB only. */
static uint64_t translate(uint64_t cr3, uint64_t va)
{
    uint64_t table = cr3 & PTE_ADDR;

    for (unsigned int level = 3;; level--) {
        uint64_t entry = ram64(table + (va >> (12 + 9 * level) & 511) * 8);

        if (!(entry & PTE_P)) {
            return UINT64_MAX;
        }
        assert_true(entry & PTE_W);
        if (level == 1) {
            assert_true(entry & PTE_PS);
            return (entry & PTE_ADDR) | (va & (MIB(2) - 1));
        }
        table = entry & PTE_ADDR;
    }
}

/* SDM volume 3, "Segment Descriptors": as the VMCS has it. */
static struct segment_reg from_gdt(uint16_t selector)
{
    uint64_t e = ram64(vcpu.gdtr.base + selector);
    uint32_t access = (uint32_t)(e >> 40 & 0xf0ff);
    uint32_t limit = (uint32_t)((e & 0xffff) | (e >> 32 & 0xf0000));

    assert_true(selector + 7U <= vcpu.gdtr.limit);
    return (struct segment_reg){.base = (e >> 16 & 0xffffff) | (e >> 56 << 24),
                                .selector = selector,
                                .limit = (access & 0x8000) ? limit << 12 | 0xfff : limit,
                                .access = access};
}

static void check_tables(void)
{
    const struct acpi_rsdp *rsdp = guest_ram(&dom, ACPI_TABLES_GPA, sizeof(*rsdp));

    assert_memory_equal(rsdp->signature, ACPI_RSDP_SIGNATURE, 8);
    assert_memory_equal(guest_ram(&dom, rsdp->xsdt, 36), "XSDT", 4);
}

static void test_linux_load__bzimage__placed_by_the_protocol(void **state)
{
    const struct linux_setup_header *h;
    const uint8_t *zp;

    (void)state;
    assert_int_equal(load(bz, sizeof(bz), 2), 0);
    assert_memory_equal(guest_ram(&dom, BZ_PREF, BZ_KERNEL_BYTES), bz + BZ_KERNEL_AT,
                        BZ_KERNEL_BYTES);
    assert_int_equal(vcpu.rip, BZ_PREF + 0x200);
    zp = guest_ram(&dom, vcpu.gpr[GPR_RSI], LINUX_ZP_BYTES);
    h = (const struct linux_setup_header *)(zp + LINUX_HEADER);
    assert_int_equal(h->type_of_loader, 0xff);
    assert_int_equal(h->header, LINUX_MAGIC);
    assert_int_equal(h->xloadflags, LINUX_XLF_KERNEL_64);
    assert_int_equal(h->setup_data, 0);
    assert_int_equal(h->vid_mode, 0xffff);
    assert_int_equal(h->code32_start, BZ_PREF);
    assert_string_equal(guest_ram(&dom, h->cmd_line_ptr, 64), "console=ttyS0 quiet");
    assert_int_equal(zp[0x268], 0x99);
    /* All that is not header, RSDP or map is zero: the sentinel at 0x1ef among it. */
    assert_int_equal(zp[0x26c], 0);
    for (size_t i = 0; i < LINUX_HEADER; i++) {
        assert_true(zp[i] == 0 || i == LINUX_ZP_E820_ENTRIES || (i >= 0x70 && i < 0x78));
    }
    assert_int_equal(ram64(vcpu.gpr[GPR_RSI] + LINUX_ZP_ACPI_RSDP), ACPI_TABLES_GPA);
    /* The initrd is the highest thing in memory; the second module is nowhere. */
    assert_int_equal(h->ramdisk_size, INITRD_BYTES);
    assert_int_equal(h->ramdisk_image, MIB(64) - 0x3000);
    assert_memory_equal(guest_ram(&dom, h->ramdisk_image, INITRD_BYTES), initrd, INITRD_BYTES);
    check_tables();
}

static void test_linux_load__bzimage__64_bit_state(void **state)
{
    static const uint64_t addresses[] = {0,       0x7000,          0x1ff000,       0x200000,
                                         BZ_PREF, GIB(1) - 1,      GIB(1),         GIB(2) + 5,
                                         GIB(3),  UINT32_MAX - 10, 0xfec00000 + 4, UINT32_MAX};

    (void)state;
    assert_int_equal(load(bz, sizeof(bz), 0), 0);
    assert_int_equal(guest_state_check(&vcpu), 0);
    assert_int_equal(vcpu.cr0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    assert_int_equal(vcpu.cr4, CR4_PAE);
    assert_int_equal(vcpu.efer, EFER_LME | EFER_LMA);
    assert_int_equal(vcpu.rflags, RFLAGS_FIXED);
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        assert_int_equal(translate(vcpu.cr3, addresses[i]), addresses[i]);
    }
    assert_int_equal(translate(vcpu.cr3, GIB(4)), UINT64_MAX);
    assert_int_equal(translate(vcpu.cr3, GIB(512)), UINT64_MAX);
    /* What the segment registers hold is what their selectors would load. */
    assert_int_equal(vcpu.seg[SEG_CS].selector, 0x10);
    for (unsigned int i = 0; i < SEG_LDTR; i++) {
        const struct segment_reg loaded = from_gdt(i == SEG_CS ? 0x10 : 0x18);

        assert_int_equal(vcpu.seg[i].selector, loaded.selector);
        assert_int_equal(vcpu.seg[i].base, loaded.base);
        assert_int_equal(vcpu.seg[i].limit, loaded.limit);
        assert_int_equal(vcpu.seg[i].access, loaded.access);
    }
}

static void test_linux_load__memory_sizes__map_and_initrd_follow(void **state)
{
    static const struct {
        uint64_t memory;
        uint32_t addr_max;
        uint64_t initrd_end; /* of its last page */
        unsigned int entries;
    } rows[] = {
        {BZ_PREF + BZ_INIT_SIZE + 0x3000, 0x7fffffff, BZ_PREF + BZ_INIT_SIZE + 0x3000, 5},
        {GIB(1), 0x7fffffff, GIB(1), 5},
        {GIB(1), 0x3fffffff, GIB(1), 5},
        {GIB(1), 0x37ffffff, 0x38000000, 5},
        {GIB(3), 0x7fffffff, GIB(2), 5},
        {GIB(3), UINT32_MAX, GIB(3), 5},
        {GIB(3) + MIB(512), UINT32_MAX, GIB(3), 6},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct linux_setup_header *h;
        const struct linux_e820_entry *e;
        const uint8_t *zp;
        uint64_t ram = 0;

        guest_ram_init(&dom, rows[i].memory);
        bz_header(bz)->initrd_addr_max = rows[i].addr_max;
        assert_int_equal(load(bz, sizeof(bz), 1), 0);
        zp = guest_ram(&dom, vcpu.gpr[GPR_RSI], LINUX_ZP_BYTES);
        h = (const struct linux_setup_header *)(zp + LINUX_HEADER);
        assert_int_equal(h->ramdisk_image, rows[i].initrd_end - 0x3000);
        assert_int_equal(zp[LINUX_ZP_E820_ENTRIES], rows[i].entries);
        e = (const struct linux_e820_entry *)(zp + LINUX_ZP_E820_TABLE);
        for (unsigned int n = 0; n < rows[i].entries; n++) {
            assert_true(e[n].bytes > 0 &&
                        (n == 0 || e[n].start >= e[n - 1].start + e[n - 1].bytes));
            ram += e[n].type == E820_RAM ? e[n].bytes : 0;
            if (e[n].type == E820_RAM) {
                (void)guest_ram(&dom, e[n].start, e[n].bytes);
                assert_false(ranges_overlap(e[n].start, e[n].start + e[n].bytes, ACPI_TABLES_GPA,
                                            ACPI_TABLES_GPA + ACPI_TABLES_ROOM));
            }
        }
        assert_int_equal(ram, rows[i].memory - 0x60000);
    }
}

/* One change to a good header, and what comes of it. */
struct refusal {
    size_t at;
    unsigned int bytes;
    uint64_t value;
    int rc;
    const char *why;
};
#define FIELD(f)                                           \
    LINUX_HEADER + offsetof(struct linux_setup_header, f), \
        sizeof(((struct linux_setup_header *)0)->f)

static void test_linux_load__header_numbers__refused_with_the_reason(void **state)
{
    static const struct refusal rows[] = {
        {FIELD(boot_flag), 0, -ENOEXEC, "no Linux bzImage"},
        {FIELD(header), 0, -ENOEXEC, "no Linux bzImage"},
        {FIELD(version), 0x20b, -ENOEXEC, "older than boot protocol 2.12"},
        {FIELD(jump), 0x30eb, -ENOEXEC, "older than boot protocol 2.12"},
        {FIELD(loadflags), 0, -ENOEXEC, "without 64-bit entry point"},
        {FIELD(xloadflags), 0xfffe, -ENOEXEC, "without 64-bit entry point"},
        {FIELD(setup_sects), 255, -ENOEXEC, "cut short"},
        {FIELD(setup_sects), 5, -ENOEXEC, "cut short"},
        {FIELD(syssize), BZ_KERNEL_BYTES / 16 + 1, -ENOEXEC, "cut short"},
        {FIELD(syssize), UINT32_MAX, -ENOEXEC, "cut short"},
        {FIELD(kernel_alignment), 0, -ENOEXEC, "power of two"},
        {FIELD(kernel_alignment), 0x300000, -ENOEXEC, "power of two"},
        {FIELD(kernel_alignment), 0x80000000, -ENOSPC, "does not fit"},
        {FIELD(pref_address), MIB(64), -ENOSPC, "does not fit"},
        {FIELD(pref_address), UINT64_MAX, -ENOSPC, "does not fit"},
        {FIELD(pref_address), UINT64_MAX - MIB(2), -ENOSPC, "does not fit"},
        {FIELD(init_size), MIB(48) + 1, -ENOSPC, "does not fit"},
        {FIELD(init_size), UINT32_MAX, -ENOSPC, "does not fit"},
        {FIELD(init_size), MIB(48) - 0x2000, -ENOSPC, "initrd does not fit"},
        {FIELD(initrd_addr_max), 0, -ENOSPC, "initrd does not fit"},
        {FIELD(initrd_addr_max), BZ_PREF, -ENOSPC, "initrd does not fit"},
        {FIELD(initrd_addr_max), BZ_PREF + BZ_INIT_SIZE + 0x2343, -ENOSPC, "initrd does not fit"},
        {FIELD(cmdline_size), 18, -ENOSPC, "command line"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bz_make(bz);
        memcpy(bz + rows[i].at, &rows[i].value, rows[i].bytes);
        assert_int_equal(load(bz, sizeof(bz), 1), rows[i].rc);
        assert_non_null(strstr(why, rows[i].why));
    }
}

static void test_linux_load__odd_but_good_headers__loaded(void **state)
{
    (void)state;
    bz_header(bz)->cmdline_size = 19; /* just as long */
    assert_int_equal(load(bz, sizeof(bz), 0), 0);
    bz_header(bz)->pref_address = BZ_PREF + 1; /* goes up to the alignment */
    assert_int_equal(load(bz, sizeof(bz), 0), 0);
    assert_int_equal(vcpu.rip, BZ_PREF + MIB(2) + 0x200);
    bz_header(bz)->pref_address = 0;
    assert_int_equal(load(bz, sizeof(bz), 0), 0);
    assert_int_equal(vcpu.rip, MIB(2) + 0x200);
    bz_header(bz)->relocatable_kernel = 0;
    assert_int_equal(load(bz, sizeof(bz), 0), -ENOEXEC);
    bz_header(bz)->pref_address = MIB(1) + 0x1000;
    assert_int_equal(load(bz, sizeof(bz), 0), 0);
    assert_int_equal(vcpu.rip, MIB(1) + 0x1200);
    bz_header(bz)->init_size = 0; /* the file itself is room enough then */
    assert_int_equal(load(bz, sizeof(bz), 0), 0);
    bz_make(bz);
    bz_header(bz)->initrd_addr_max = BZ_PREF + BZ_INIT_SIZE + INITRD_BYTES - 1; /* just fits */
    assert_int_equal(load(bz, sizeof(bz), 1), 0);
    modules[0].bytes = 0; /* an empty initrd is none */
    assert_int_equal(load(bz, sizeof(bz), 1), 0);
    assert_int_equal(ram64(LINUX_ZERO_PAGE_GPA + 0x218), 0);
}

static void test_linux_load__cut_at_every_byte__refused(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof(bz); bytes++) {
        /* syssize counts in 16 bytes: less than one may be missing. */
        int want = bytes + 16 > sizeof(bz) ? 0 : -ENOEXEC;

        if (bytes + 16 != sizeof(bz)) {
            assert_int_equal(load_copy(bz, bytes), want);
        }
    }
}

static void test_guest_load__every_header_byte_changed__no_harm(void **state)
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};

    (void)state;
    for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
        for (size_t at = 0x1f0; at < 0x280; at++) {
            uint8_t keep = bz[at];

            bz[at] = values[v];
            int rc = load_copy(bz, sizeof(bz));
            assert_true(rc == 0 || rc == -ENOEXEC || rc == -ENOSPC);
            bz[at] = keep;
        }
        for (size_t at = 0; at < PVH_CODE_AT; at++) {
            uint8_t keep = pvh[at];

            pvh[at] = values[v];
            int rc = load_copy(pvh, sizeof(pvh));
            assert_true(rc == 0 || rc == -ENOEXEC || rc == -ENOSPC);
            pvh[at] = keep;
        }
    }
}

static void check_pvh(void)
{
    const struct pvh_start_info *info = guest_ram(&dom, vcpu.gpr[GPR_RBX], sizeof(*info));
    const struct pvh_memmap_entry *map;
    const struct pvh_module *m;

    assert_int_equal(vcpu.rip, PVH_ENTRY);
    assert_int_equal(guest_state_check(&vcpu), 0);
    assert_int_equal(vcpu.cr0, CR0_PE | CR0_ET);
    assert_int_equal(vcpu.cr4 | vcpu.efer, 0);
    assert_int_equal(vcpu.seg[SEG_CS].access, 0xc09b);
    assert_int_equal(vcpu.seg[SEG_TR].limit, 0x67);
    assert_memory_equal(guest_ram(&dom, PVH_LOAD, PVH_CODE_BYTES), pvh + PVH_CODE_AT,
                        PVH_CODE_BYTES);
    assert_int_equal(info->magic, 0x336ec578);
    assert_int_equal(info->version, 1);
    assert_int_equal(info->flags | info->reserved, 0);
    assert_string_equal(guest_ram(&dom, info->cmdline, 64), "console=ttyS0 quiet");
    assert_int_equal(info->rsdp, ACPI_TABLES_GPA);
    assert_int_equal(info->memmap_entries, 5);
    map = guest_ram(&dom, info->memmap, 5 * sizeof(*map));
    assert_int_equal(map[2].start, MIB(1));
    assert_int_equal(map[2].bytes, MIB(63));
    assert_int_equal(map[2].type, E820_RAM);
    assert_int_equal(map[1].type, 2);
    assert_int_equal(info->nr_modules, 2);
    m = guest_ram(&dom, info->modlist, 2 * sizeof(*m));
    assert_int_equal(m[0].start, MIB(64) - 0x3000);
    assert_int_equal(m[0].bytes, INITRD_BYTES);
    assert_memory_equal(guest_ram(&dom, m[0].start, INITRD_BYTES), initrd, INITRD_BYTES);
    assert_string_equal(guest_ram(&dom, m[0].cmdline, 16), "first words");
    assert_int_equal(m[1].start, MIB(64) - 0x4000);
    assert_string_equal(guest_ram(&dom, m[1].cmdline, 16), "second");
    check_tables();
}

static void test_pvh_load__both_classes__start_information(void **state)
{
    (void)state;
    assert_int_equal(load(pvh, sizeof(pvh), 2), 0);
    check_pvh();
    guest_ram_init(&dom, MIB(64));
    pvh_make(pvh, false);
    assert_int_equal(load(pvh, sizeof(pvh), 2), 0);
    check_pvh();
    assert_int_equal(load(pvh, sizeof(pvh), 0), 0);
    assert_int_equal(ram64(vcpu.gpr[GPR_RBX] + offsetof(struct pvh_start_info, modlist)), 0);
}

static void test_pvh_load__damaged__refused(void **state)
{
    struct elf64_phdr *ph = (struct elf64_phdr *)(pvh + sizeof(struct elf64_header));

    (void)state;
    pvh_notes(pvh)->entry = PVH_LOAD + PVH_MEM_BYTES;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    assert_non_null(strstr(why, "lies in no segment"));
    pvh_notes(pvh)->entry = PVH_ENTRY | 1UL << 32;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    assert_non_null(strstr(why, "no Linux bzImage, PVH note"));
    pvh_make(pvh, true);
    pvh_notes(pvh)->ours.descsz = 6;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    pvh_make(pvh, true);
    pvh_notes(pvh)->other.descsz = UINT32_MAX;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    pvh_make(pvh, true);
    pvh_notes(pvh)->other.namesz = UINT32_MAX;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    pvh_make(pvh, true);
    pvh_notes(pvh)->name[3] = '!';
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    pvh_make(pvh, true);
    ph[0].paddr = MIB(1) - PVH_MEM_BYTES / 2;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    assert_non_null(strstr(why, "below 1 MiB"));
    pvh_make(pvh, true);
    ph[0].memsz = MIB(63) + 1;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOSPC);
    ph[0].memsz = MIB(63) - 0x2000;
    assert_int_equal(load(pvh, sizeof(pvh), 1), -ENOSPC);
    assert_non_null(strstr(why, "initrd"));
    ph[0].memsz = UINT64_MAX - MIB(1);
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOSPC);
    ph[0].memsz = PVH_MEM_BYTES;
    ph[1].offset = UINT64_MAX - 8;
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    pvh_make(pvh, true);
    for (size_t bytes = 0; bytes < sizeof(pvh); bytes++) {
        assert_int_equal(load_copy(pvh, bytes), -ENOEXEC);
    }
}

static void test_pvh_load__many_modules_and_words__bounded(void **state)
{
    static struct guest_module many[3000];
    static char words[0x10000];
    struct guest_payload p = {.data = pvh, .bytes = sizeof(pvh), .modules = many, .vcpus = 1};

    (void)state;
    memset(words, 'w', sizeof(words) - 1);
    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        many[i] = (struct guest_module){initrd, 1, ""};
    }
    p.cmdline = words;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), 0); /* 64 KiB - 1: the longest */
    p.cmdline = "";
    p.nr_modules = 1985; /* 33 bytes each in 64 KiB */
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), 0);
    p.nr_modules = 1986;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), -ENOSPC);
    p.nr_modules = 3000;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), -ENOSPC);
    assert_non_null(strstr(why, "more modules"));
    many[0].cmdline = words;
    p.nr_modules = 1;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), -ENOSPC);
    assert_non_null(strstr(why, "command lines"));
}

static void test_guest_load__kinds__the_first_that_knows_it(void **state)
{
    static const uint32_t mb1[3] = {MB1_HEADER_MAGIC, 0, 0U - MB1_HEADER_MAGIC};
    static const uint8_t junk[64] = {1};

    (void)state;
    /* Both a PVH note and a multiboot1 header: PVH. */
    memcpy(pvh + PVH_CODE_AT, mb1, sizeof(mb1));
    assert_int_equal(load(pvh, sizeof(pvh), 0), 0);
    assert_int_equal(vcpu.rip, PVH_ENTRY);
    assert_int_equal(vcpu.gpr[GPR_RAX], 0);
    /* Without the note: multiboot1, whose entry point is e_entry. */
    pvh_make(pvh, false);
    memcpy(pvh + PVH_CODE_AT, mb1, sizeof(mb1));
    pvh_notes(pvh)->name[0] = 'x';
    assert_int_equal(load(pvh, sizeof(pvh), 2), 0);
    assert_int_equal(vcpu.rip, PVH_LOAD + 8);
    assert_int_equal(vcpu.gpr[GPR_RAX], MB1_BOOT_MAGIC);
    const struct mb1_info *info = guest_ram(&dom, vcpu.gpr[GPR_RBX], sizeof(*info));
    assert_int_equal(info->mods_count, 2);
    assert_int_equal(info->mem_upper, 63 * 1024);
    assert_string_equal(guest_ram(&dom, info->cmdline, 64), "console=ttyS0 quiet");
    /* A 64-bit kernel whose entry point is in no segment: only PVH takes that. */
    pvh_make(pvh, true);
    memcpy(pvh + PVH_CODE_AT, mb1, sizeof(mb1));
    pvh_notes(pvh)->name[0] = 'x';
    assert_int_equal(load(pvh, sizeof(pvh), 0), -ENOEXEC);
    assert_non_null(strstr(why, "entry point lies in no segment"));
    assert_int_equal(load(junk, sizeof(junk), 0), -ENOEXEC);
    assert_int_equal(load(junk, 0, 0), -ENOEXEC);
}

static void test_guest_load__no_memory_at_each_allocation__enomem(void **state)
{
    (void)state;
    for (long n = 0; n < 2; n++) {
        guest_ram_fail_alloc_after(n);
        assert_int_equal(load(bz, sizeof(bz), 1), -ENOMEM);
    }
    guest_ram_fail_alloc_after(0);
    assert_int_equal(load(pvh, sizeof(pvh), 1), -ENOMEM);
}

static void test_guest_load__vcpus_out_of_range__refused(void **state)
{
    struct guest_payload p = {.data = bz, .bytes = sizeof(bz), .cmdline = ""};

    (void)state;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), -ENOEXEC);
    p.vcpus = ACPI_VCPUS_MAX + 1;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), -ENOEXEC);
    p.vcpus = ACPI_VCPUS_MAX;
    assert_int_equal(guest_load(&dom, &p, &vcpu, &why), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_linux_load__bzimage__placed_by_the_protocol),
        TEST(test_linux_load__bzimage__64_bit_state),
        TEST(test_linux_load__memory_sizes__map_and_initrd_follow),
        TEST(test_linux_load__header_numbers__refused_with_the_reason),
        TEST(test_linux_load__odd_but_good_headers__loaded),
        TEST(test_linux_load__cut_at_every_byte__refused),
        TEST(test_guest_load__every_header_byte_changed__no_harm),
        TEST(test_pvh_load__both_classes__start_information),
        TEST(test_pvh_load__damaged__refused),
        TEST(test_pvh_load__many_modules_and_words__bounded),
        TEST(test_guest_load__kinds__the_first_that_knows_it),
        TEST(test_guest_load__no_memory_at_each_allocation__enomem),
        TEST(test_guest_load__vcpus_out_of_range__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
