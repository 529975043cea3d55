/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest payloads: synthesised ELF files with multiboot headers, good ones and damaged ones.
 */
#include "hv/guest_load.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mb2_block.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/seam.h"
#include "hw/elf.h"
#include "hw/multiboot.h"
#include "hw/x86.h"

#define PHDRS 3U
#define TEXT 0x400U /* file offsets */
#define DATA 0x1500U
#define FILE_BYTES 0x1700U
#define TEXT_PA 0x200000U
#define DATA_PA 0x205000U
#define DATA_MEM 0x2345U
#define ENTRY_OFFSET 0x10U
#define LINK_64 UINT64_C(0xffffffff80000000) /* the 64-bit file is linked high */

static uint8_t *file; /* of exactly `length` bytes, for ASan */
static size_t length;
static struct domain *d;
static struct vcpu_state state;
static const char *why;

static void put(size_t at, const void *data, size_t n)
{
    assert_true(at + n <= length);
    memcpy(file + at, data, n);
}

static void put_header(uint32_t magic, size_t at)
{
    uint32_t h[4] = {magic, 0, 16, 0};

    if (magic == MB1_HEADER_MAGIC) {
        h[1] = 3;
        h[2] = -(h[0] + h[1]);
        put(at, h, 12);
    } else {
        h[3] = -(h[0] + h[1] + h[2]);
        put(at, h, 16);
    }
}

static void put_phdr(bool elf64, unsigned int i, uint32_t type, uint64_t offset, uint64_t paddr,
                     uint64_t filesz, uint64_t memsz)
{
    if (elf64) {
        struct elf64_phdr p = {.type = type,
                               .offset = offset,
                               .vaddr = LINK_64 + paddr,
                               .paddr = paddr,
                               .filesz = filesz,
                               .memsz = memsz};
        put(sizeof(struct elf64_header) + i * sizeof(p), &p, sizeof(p));
    } else {
        struct elf32_phdr p = {.type = type,
                               .offset = (uint32_t)offset,
                               .vaddr = (uint32_t)paddr,
                               .paddr = (uint32_t)paddr,
                               .filesz = (uint32_t)filesz,
                               .memsz = (uint32_t)memsz};
        put(sizeof(struct elf32_header) + i * sizeof(p), &p, sizeof(p));
    }
}

static void make(bool elf64, uint32_t magic)
{
    free(file);
    length = FILE_BYTES;
    file = calloc(1, length);
    assert_non_null(file);
    for (size_t i = TEXT; i < length; i++) {
        file[i] = (uint8_t)(i * 7 + (i >> 8));
    }
    if (elf64) {
        struct elf64_header h = {.magic = ELF_MAGIC,
                                 .class = ELF_CLASS_64,
                                 .data = ELF_DATA_LSB,
                                 .ident_version = 1,
                                 .type = ELF_TYPE_EXEC,
                                 .machine = ELF_MACHINE_X86_64,
                                 .version = 1,
                                 .entry = LINK_64 + TEXT_PA + ENTRY_OFFSET,
                                 .phoff = sizeof(h),
                                 .phentsize = sizeof(struct elf64_phdr),
                                 .phnum = PHDRS};
        put(0, &h, sizeof(h));
    } else {
        struct elf32_header h = {.magic = ELF_MAGIC,
                                 .class = ELF_CLASS_32,
                                 .data = ELF_DATA_LSB,
                                 .ident_version = 1,
                                 .type = ELF_TYPE_EXEC,
                                 .machine = ELF_MACHINE_386,
                                 .version = 1,
                                 .entry = TEXT_PA + ENTRY_OFFSET,
                                 .phoff = sizeof(h),
                                 .phentsize = sizeof(struct elf32_phdr),
                                 .phnum = PHDRS};
        put(0, &h, sizeof(h));
    }
    put_phdr(elf64, 0, ELF_PT_LOAD, TEXT, TEXT_PA, 0x1001, 0x1001);
    put_phdr(elf64, 1, ELF_PT_NOTE, 0, UINT64_MAX, 0, 0);
    put_phdr(elf64, 2, ELF_PT_LOAD, DATA, DATA_PA, FILE_BYTES - DATA, DATA_MEM);
    put_header(magic, 0x200);
}

static int load(const char *cmdline, const struct guest_module *modules, size_t nr)
{
    why = "";
    const struct guest_payload payload = {.data = file,
                                          .bytes = length,
                                          .cmdline = cmdline,
                                          .modules = modules,
                                          .nr_modules = nr,
                                          .vcpus = 1};

    return guest_load(d, &payload, &state, &why);
}

static void new_domain(uint64_t bytes)
{
    if (d != NULL) {
        domain_destroy(d);
    }
    d = domain_create("guest", 1, false);
    assert_non_null(d);
    assert_int_equal(domain_add_memory(d, bytes), 0);
}

static int setup(void **unused)
{
    (void)unused;
    world_reset();
    world_boot(0, true);
    d = NULL;
    new_domain(MIB(4));
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    fake_fail_alloc_after(-1);
    free(file);
    file = NULL;
    return 0;
}

static void read_guest(uint64_t gpa, void *buf, uint64_t n)
{
    assert_int_equal(domain_read(d, gpa, buf, n), 0);
}

static char *guest_string(uint64_t gpa)
{
    static char text[100];

    read_guest(gpa, text, sizeof(text));
    text[99] = '\0';
    return text;
}

static void assert_loaded(void)
{
    static uint8_t memory[DATA_MEM];

    read_guest(TEXT_PA, memory, 0x1001);
    assert_memory_equal(memory, file + TEXT, 0x1001);
    read_guest(DATA_PA, memory, DATA_MEM);
    assert_memory_equal(memory, file + DATA, FILE_BYTES - DATA);
    for (size_t i = FILE_BYTES - DATA; i < DATA_MEM; i++) {
        assert_int_equal(memory[i], 0);
    }
}

/* "I386 machine state" of both specifications. */
static void assert_first_state(uint32_t magic)
{
    assert_int_equal(state.gpr[GPR_RAX], magic);
    assert_int_equal(state.rip, TEXT_PA + ENTRY_OFFSET);
    assert_int_equal(state.cr0, CR0_PE | CR0_ET);
    assert_int_equal(state.rflags, RFLAGS_FIXED);
    assert_int_equal(state.cr4 | state.efer | state.cr3 | state.event, 0);
    assert_int_equal(state.xcr0, XCR0_X87);
    for (unsigned int i = 0; i < SEG_LDTR; i++) {
        assert_int_equal(state.seg[i].base, 0);
        assert_int_equal(state.seg[i].limit, 0xffffffff);
        assert_int_equal(state.seg[i].access, i == SEG_CS ? 0xc09b : 0xc093);
    }
    assert_int_equal(state.seg[SEG_LDTR].access, SEG_UNUSABLE);
    assert_true(state.gpr[GPR_RBX] >= DATA_PA + DATA_MEM);
}

static const uint8_t module_a[] = "contents of module a";
static const uint8_t module_b[PAGE_SIZE + 1] = {1, 2, 3};

static const struct guest_module modules[] = {
    {module_a, sizeof(module_a), "a with words"},
    {module_b, sizeof(module_b), ""},
};

static void test_load__multiboot1__memory_modules_and_information(void **unused)
{
    struct mb1_info info;
    struct mb1_module mods[2];
    struct mb1_mmap map[4];
    uint8_t byte;

    (void)unused;
    make(false, MB1_HEADER_MAGIC);
    assert_int_equal(load("root=x quiet", modules, 2), 0);
    assert_loaded();
    assert_first_state(MB1_BOOT_MAGIC);
    read_guest(state.gpr[GPR_RBX], &info, sizeof(info));
    assert_int_equal(info.flags, MB1_INFO_MEMORY | MB1_INFO_CMDLINE | MB1_INFO_MODS |
                                     MB1_INFO_MMAP | MB1_INFO_LOADER);
    assert_int_equal(info.mem_lower, 640);
    assert_int_equal(info.mem_upper, 3 * 1024);
    assert_string_equal(guest_string(info.cmdline), "root=x quiet");
    assert_string_equal(guest_string(info.boot_loader_name), "molt");
    assert_int_equal(info.mods_count, 2);
    read_guest(info.mods_addr, mods, sizeof(mods));
    assert_int_equal(mods[0].start % PAGE_SIZE, 0);
    assert_int_equal(mods[1].start % PAGE_SIZE, 0);
    assert_int_equal(mods[0].end - mods[0].start, sizeof(module_a));
    assert_int_equal(mods[1].end - mods[1].start, sizeof(module_b));
    assert_true(mods[0].start >= DATA_PA + DATA_MEM && mods[1].start >= mods[0].end);
    assert_string_equal(guest_string(mods[0].start), (const char *)module_a);
    assert_string_equal(guest_string(mods[0].cmdline), "a with words");
    assert_string_equal(guest_string(mods[1].cmdline), "");
    read_guest(mods[1].end - 1, &byte, 1);
    assert_int_equal(byte, 0);
    assert_int_equal(info.mmap_length, 3 * sizeof(map[0]));
    read_guest(info.mmap_addr, map, 3 * sizeof(map[0]));
    assert_int_equal(map[0].size, 20);
    assert_int_equal(map[0].base, 0);
    assert_int_equal(map[0].length, KIB(640));
    assert_int_equal(map[0].type, 1);
    assert_int_equal(map[1].type, MB_MEMORY_RESERVED);
    assert_int_equal(map[1].base + map[1].length, MIB(1));
    assert_int_equal(map[2].base, MIB(1));
    assert_int_equal(map[2].length, MIB(3));
    assert_int_equal(map[2].type, 1);
}

/* The block is parsed by molt's own parser, the one that is tested against the specification. */
static void test_load__multiboot2__block_that_a_parser_takes(void **unused)
{
    static uint8_t block[PAGE_SIZE];
    struct boot_info info;
    struct mb2_module m;
    uint32_t size;

    (void)unused;
    for (int elf64 = 0; elf64 < 2; elf64++) {
        new_domain(MIB(4));
        make(elf64 != 0, MB2_HEADER_MAGIC);
        if (load("console=ttyS0", modules, 2) != 0) {
            fail_msg("%s", why);
        }
        assert_loaded();
        assert_first_state(MB2_BOOT_MAGIC);
        assert_int_equal(state.gpr[GPR_RBX] % 8, 0);
        read_guest(state.gpr[GPR_RBX], block, sizeof(block));
        memcpy(&size, block, sizeof(size));
        if (mb2_parse(block, size, &info, &why) != 0) {
            fail_msg("%s", why);
        }
        assert_string_equal(info.cmdline, "console=ttyS0");
        assert_string_equal(info.loader, "molt");
        assert_int_equal(info.nr_modules, 2);
        assert_true(mb2_module(&info, 0, &m));
        assert_string_equal(m.cmdline, "a with words");
        assert_string_equal(guest_string(m.start), (const char *)module_a);
        assert_true(mb2_module(&info, 1, &m));
        assert_int_equal(m.end - m.start, sizeof(module_b));
        assert_int_equal(info.mmap_entries, 3);
        assert_int_equal(mb2_mmap(&info, 2).start, MIB(1));
        assert_int_equal(mb2_mmap(&info, 2).end, MIB(4));
        /* basic memory information */
        bool found = false;
        for (size_t at = 8; at < size; at += 8) {
            uint32_t tag[4];
            memcpy(tag, block + at, sizeof(tag));
            found |= tag[0] == MB2_TAG_MEMINFO && tag[1] == 16 && tag[2] == 640 && tag[3] == 3072;
        }
        assert_true(found);
    }
}

/* With more than 3 GiB the map goes on at 4 GiB. */
void frames_zero(mfn_t mfn, uint64_t frames)
{
    if (frames <= 16384) {
        memset(mfn_to_va(mfn), 0, frames * PAGE_SIZE);
    }
}

static void test_load__four_gib__map_with_high_memory(void **unused)
{
    struct mb1_info info;
    struct mb1_mmap map[4];

    (void)unused;
    world_reset_low();
    fake_machine_add_ram(GIB(8), GIB(13));
    world_boot(0, true);
    d = NULL;
    new_domain(GIB(4));
    make(true, MB1_HEADER_MAGIC);
    assert_int_equal(load("", NULL, 0), 0);
    read_guest(state.gpr[GPR_RBX], &info, sizeof(info));
    assert_int_equal(info.mem_upper, 3 * 1024 * 1024 - 1024);
    assert_int_equal(info.mods_count, 0);
    assert_int_equal(info.mmap_length, sizeof(map));
    read_guest(info.mmap_addr, map, sizeof(map));
    assert_int_equal(map[2].base + map[2].length, GIB(3));
    assert_int_equal(map[3].base, GIB(4));
    assert_int_equal(map[3].length, GIB(1));
    assert_int_equal(map[3].type, 1);
}

/* ---- where the header may be ---- */

static void test_header__places__found_only_where_it_counts(void **unused)
{
    static const struct {
        uint32_t magic;
        size_t at, file;
        bool found;
    } rows[] = {
        {MB1_HEADER_MAGIC, 0x200, 0x1700, true},  {MB1_HEADER_MAGIC, 0x204, 0x1700, true},
        {MB1_HEADER_MAGIC, 0x202, 0x1700, false}, {MB1_HEADER_MAGIC, 8180, 0x4000, true},
        {MB1_HEADER_MAGIC, 8184, 0x4000, false},  {MB1_HEADER_MAGIC, 8192, 0x4000, false},
        {MB1_HEADER_MAGIC, 0x16f4, 0x1700, true}, {MB2_HEADER_MAGIC, 0x200, 0x1700, true},
        {MB2_HEADER_MAGIC, 0x204, 0x1700, false}, {MB2_HEADER_MAGIC, 32752, 0xa000, true},
        {MB2_HEADER_MAGIC, 32760, 0xa000, false}, {MB2_HEADER_MAGIC, 0x16f0, 0x1700, true},
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t *larger;

        make(true, rows[i].magic);
        memset(file + 0x200, 0, 16);
        larger = calloc(1, rows[i].file);
        assert_non_null(larger);
        memcpy(larger, file, MIN(length, rows[i].file));
        free(file);
        file = larger;
        length = rows[i].file;
        put_header(rows[i].magic, rows[i].at);
        new_domain(MIB(4));
        int rc = load("", NULL, 0);
        if (rc != (rows[i].found ? 0 : -ENOEXEC)) {
            fail_msg("row %zu: %d %s", i, rc, why);
        }
    }
}

static void test_header__checksum_wrong__not_a_header(void **unused)
{
    (void)unused;
    make(true, MB1_HEADER_MAGIC);
    file[0x208] ^= 1;
    assert_int_equal(load("", NULL, 0), -ENOEXEC);
    assert_string_equal(why, "no Linux bzImage, PVH note, multiboot1 or multiboot2 header");
    put_header(MB2_HEADER_MAGIC, 0x300); /* the second one is good */
    assert_int_equal(load("", NULL, 0), 0);
    assert_int_equal(state.gpr[GPR_RAX], MB2_BOOT_MAGIC);
}

/* ---- damaged ---- */

struct damage {
    const char *name;
    size_t at32, at64, bytes; /* field of the file; at 0: not in that class */
    uint64_t value;
    int rc;
};

#define H32(f) offsetof(struct elf32_header, f)
#define H64(f) offsetof(struct elf64_header, f)
#define P32(i, f) \
    (sizeof(struct elf32_header) + (i) * sizeof(struct elf32_phdr) + offsetof(struct elf32_phdr, f))
#define P64(i, f) \
    (sizeof(struct elf64_header) + (i) * sizeof(struct elf64_phdr) + offsetof(struct elf64_phdr, f))
#define W32(f) sizeof(((struct elf32_header *)0)->f)

static const struct damage damages[] = {
    {"magic", 1, 1, 1, 'e', -ENOEXEC},
    {"class", H32(class), H64(class), 1, 3, -ENOEXEC},
    {"machine", H32(machine), H64(machine), 2, 40, -ENOEXEC},
    {"machine of the other class", H32(machine), 0, 2, ELF_MACHINE_X86_64, -ENOEXEC},
    {"machine of the other class", 0, H64(machine), 2, ELF_MACHINE_386, -ENOEXEC},
    {"phentsize 0", H32(phentsize), H64(phentsize), 2, 0, -ENOEXEC},
    {"phentsize small", H32(phentsize), H64(phentsize), 2, 31, -ENOEXEC},
    {"phentsize large", H32(phentsize), H64(phentsize), 2, 0xffff, -ENOEXEC},
    {"no segments", H32(phnum), H64(phnum), 2, 0, -ENOEXEC},
    {"too many", H32(phnum), H64(phnum), 2, 0xffff, -ENOEXEC},
    {"phoff at the end", H32(phoff), H64(phoff), 4, FILE_BYTES - 16, -ENOEXEC},
    {"phoff behind", H32(phoff), H64(phoff), 4, FILE_BYTES + 1, -ENOEXEC},
    {"phoff max", H32(phoff), 0, 4, UINT32_MAX, -ENOEXEC},
    {"phoff max", 0, H64(phoff), 8, UINT64_MAX, -ENOEXEC},
    {"entry below", H32(entry), H64(entry), 4, TEXT_PA - 1, -ENOEXEC},
    {"entry between", H32(entry), 0, 4, TEXT_PA + 0x1001, -ENOEXEC},
    {"entry max", 0, H64(entry), 8, UINT64_MAX, -ENOEXEC},
    {"offset behind", P32(0, offset), P64(0, offset), 4, FILE_BYTES, -ENOEXEC},
    {"offset max", P32(0, offset), 0, 4, UINT32_MAX, -ENOEXEC},
    {"offset max", 0, P64(0, offset), 8, UINT64_MAX, -ENOEXEC},
    {"filesz over the end", P32(2, filesz), P64(2, filesz), 4, FILE_BYTES - DATA + 1, -ENOEXEC},
    {"filesz above memsz", P32(0, filesz), P64(0, filesz), 4, 0x1002, -ENOEXEC},
    {"filesz max", 0, P64(0, filesz), 8, UINT64_MAX, -ENOEXEC},
    {"memsz over the memory", P32(2, memsz), P64(2, memsz), 4, MIB(4), -ENOSPC},
    {"memsz max", 0, P64(2, memsz), 8, UINT64_MAX, -ENOSPC},
    {"paddr at the end", P32(0, paddr), P64(0, paddr), 4, MIB(4) - 1, -ENOSPC},
    {"paddr far", P32(0, paddr), 0, 4, UINT32_MAX, -ENOSPC},
    {"paddr max", 0, P64(0, paddr), 8, UINT64_MAX, -ENOSPC},
    {"paddr in the hole", 0, P64(0, paddr), 8, GIB(3), -ENOSPC},
};

static void test_load__each_field_damaged__refused(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        for (int elf64 = 0; elf64 < 2; elf64++) {
            size_t at = elf64 != 0 ? damages[i].at64 : damages[i].at32;

            if (at == 0) {
                continue;
            }
            make(elf64 != 0, MB1_HEADER_MAGIC);
            put(at, &damages[i].value, damages[i].bytes);
            int rc = load("", NULL, 0);
            if (rc != damages[i].rc || why[0] == '\0') {
                fail_msg("%s (%d): %d \"%s\"", damages[i].name, elf64, rc, why);
            }
        }
    }
}

static void test_load__truncated_at_every_byte__refused_or_complete(void **unused)
{
    (void)unused;
    for (size_t n = 0; n < FILE_BYTES; n += n < 0x300 ? 1 : 37) {
        make(true, MB2_HEADER_MAGIC);
        uint8_t *part = malloc(n + 1);
        assert_non_null(part);
        memcpy(part + 1, file, n);
        const struct guest_payload payload = {.data = part + 1, .bytes = n, .cmdline = ""};

        assert_true(guest_load(d, &payload, &state, &why) < 0);
        free(part);
    }
}

/* Every byte of the headers, some bits of it: refused or loaded, never a crash. */
static void test_load__every_header_byte_changed__no_crash(void **unused)
{
    (void)unused;
    for (size_t at = 0; at < 0x110; at++) {
        for (unsigned int bit = 0; bit < 8; bit++) {
            make((at & 1) != 0 || bit > 3, MB1_HEADER_MAGIC);
            file[at] ^= (uint8_t)(1U << bit);
            int rc = load("x", modules, 1);
            assert_true(rc == 0 || rc == -ENOEXEC || rc == -ENOSPC);
        }
    }
}

/* Memory that just holds the image but not what comes behind it. */
static void test_load__no_room_for_modules_or_information__enospc(void **unused)
{
    static uint8_t large[MIB(2)];
    const struct guest_module too_large = {large, sizeof(large), "large"};
    uint64_t end = DATA_PA + DATA_MEM;

    (void)unused;
    make(true, MB2_HEADER_MAGIC);
    assert_int_equal(load("", &too_large, 1), -ENOSPC);
    for (int mb1 = 0; mb1 < 2; mb1++) {
        bool fits = false;

        make(true, mb1 != 0 ? MB1_HEADER_MAGIC : MB2_HEADER_MAGIC);
        for (uint64_t bytes = align_up(end, PAGE_SIZE); !fits; bytes += PAGE_SIZE) {
            new_domain(bytes);
            int rc = load("some command line", modules, 2);
            assert_true(rc == 0 || rc == -ENOSPC);
            fits = rc == 0;
            assert_true(bytes < MIB(4));
        }
    }
}

static void test_load__out_of_memory__enomem(void **unused)
{
    (void)unused;
    make(true, MB2_HEADER_MAGIC);
    fake_fail_alloc_after(0);
    assert_int_equal(load("", NULL, 0), -ENOMEM);
}

/* An image low in memory: what is added stays above 1 MiB. */
static void test_load__low_image__information_above_1_mib(void **unused)
{
    (void)unused;
    make(false, MB1_HEADER_MAGIC);
    put_phdr(false, 0, ELF_PT_LOAD, TEXT, 0x8000, 0x1001, 0x1001);
    put_phdr(false, 2, ELF_PT_LOAD, DATA, 0xa000, 0, 0);
    uint32_t entry = 0x8000;
    put(H32(entry), &entry, 4);
    assert_int_equal(load("", modules, 1), 0);
    assert_true(state.gpr[GPR_RBX] >= MIB(1));
    assert_int_equal(state.rip, 0x8000);
}

/* ---- guests from boot modules ---- */

static struct mb2_block block;
static paddr_t next_module;

static void boot_module(const char *cmdline)
{
    memcpy(fake_va(next_module), file, length);
    block_module(&block, (uint32_t)next_module, (uint32_t)(next_module + length), cmdline);
    next_module += align_up(length, PAGE_SIZE);
}

static void create_guests(void)
{
    struct boot_info info;
    const struct e820 *map = fake_machine_e820();

    block_mmap(&block, map->ranges, map->nr, 0);
    block_end(&block);
    assert_int_equal(mb2_parse(block.bytes, block.used, &info, &why), 0);
    guests_create(&info);
}

/* Modules lie where the boot loader put them, before the heap opens. */
static void begin_guests(void)
{
    world_boot_closed(0, true);
    d = NULL;
    block_begin(&block);
    next_module = MIB(2);
    assert_int_equal(
        frametable_claim_range(pa_to_mfn(MIB(2)), pa_to_mfn(MIB(3)), FRAME_MODULE, OWNER_NONE), 0);
    while (!buddy_open_step(~0U)) {
    }
}

static void test_guests_create__command_lines__domains_or_messages(void **unused)
{
    (void)unused;
    begin_guests();
    make(true, MB2_HEADER_MAGIC);
    boot_module("guest name=first mem=4M control cmdline=hello name=x mem=1G");
    boot_module("guest");
    boot_module("guest name=third mem=5M vcpus=1");
    boot_module("guest name=first mem=4M");
    boot_module("guest name=small mem=1M");
    boot_module("guest name=much mem=100G");
    boot_module("guest name=odd mem=abc");
    boot_module("guest name=two vcpus=256");
    boot_module("guest name=a-name-that-is-longer-than-the-thirty-one-characters mem=4M");
    boot_module("something else");
    boot_module("module of=first cmdline=mod of=third");
    boot_module("module of=third");
    make(true, MB2_HEADER_MAGIC);
    file[1] = 0;
    boot_module("guest name=damaged mem=4M");
    create_guests();
    d = domain_find(1);
    assert_string_equal(d->name, "first");
    assert_int_equal(d->memory_bytes, MIB(4));
    assert_true(d->control);
    assert_int_equal(d->nr_vcpus, 1);
    struct vcpu_state s;
    vcpu_get_state(d->vcpus, &s);
    assert_int_equal(s.rip, TEXT_PA + ENTRY_OFFSET);
    static uint8_t info_block[PAGE_SIZE];
    struct boot_info info;
    uint32_t size;
    read_guest(s.gpr[GPR_RBX], info_block, PAGE_SIZE);
    memcpy(&size, info_block, sizeof(size));
    assert_int_equal(mb2_parse(info_block, size, &info, &why), 0);
    assert_string_equal(info.cmdline, "hello name=x mem=1G");
    /* What stands behind cmdline= is the guest's, also in a module's line. */
    assert_int_equal(info.nr_modules, 1);
    struct mb2_module m;
    assert_true(mb2_module(&info, 0, &m));
    assert_string_equal(m.cmdline, "mod of=third");
    unsigned int domains = 0;
    for_each_domain(each) {
        domains++;
        assert_true(each->memory_bytes >= MIB(4));
    }
    assert_non_null(domain_find(2));
    assert_string_equal(domain_find(2)->name, "guest1");
    assert_int_equal(domain_find(2)->memory_bytes, GUEST_MEMORY_DEFAULT);
    assert_string_equal(domain_find(3)->name, "third");
    assert_int_equal(strlen(domain_find(4)->name), 31);
    assert_int_equal(domains, 4);
    assert_true(fake_printed("guest first: not created"));
    assert_true(fake_printed("guest small: mem="));
    assert_true(fake_printed("guest much: not created"));
    assert_true(fake_printed("guest odd: mem="));
    assert_true(fake_printed("guest two: vcpus="));
    assert_true(fake_printed("guest damaged: not created"));
    assert_true(fake_printed("\"something else\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_load__multiboot1__memory_modules_and_information),
        TEST(test_load__multiboot2__block_that_a_parser_takes),
        TEST(test_load__four_gib__map_with_high_memory),
        TEST(test_header__places__found_only_where_it_counts),
        TEST(test_header__checksum_wrong__not_a_header),
        TEST(test_load__each_field_damaged__refused),
        TEST(test_load__truncated_at_every_byte__refused_or_complete),
        TEST(test_load__every_header_byte_changed__no_crash),
        TEST(test_load__no_room_for_modules_or_information__enospc),
        TEST(test_load__out_of_memory__enomem),
        TEST(test_load__low_image__information_above_1_mib),
        TEST(test_guests_create__command_lines__domains_or_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
