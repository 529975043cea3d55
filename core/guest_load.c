/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest payloads: ELF into guest memory, boot information, first register state.
 *
 * The payload is untrusted: every range is checked against the file and against the guest's
 * memory. Host test: tests/host/test_guest_load.c
 * Multiboot specification 0.6.96 and Multiboot2 specification 2.0, "Boot information format",
 * "I386 machine state".
 */
#include "hv/guest_load.h"

#include "hv/errno.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/elf.h"
#include "hw/multiboot.h"
#include "hw/x86.h"

#define LOW_RAM_END 0xa0000U
#define HIGH_RAM_START 0x100000U
#define FLAT_LIMIT 0xffffffffU
#define ACCESS_CODE32 0xc09bU
#define ACCESS_DATA32 0xc093U
#define ACCESS_TSS_BUSY 0x8bU
#define SEL_CODE 0x08
#define SEL_DATA 0x10

struct loader {
    struct domain *d;
    const uint8_t *elf;
    uint64_t len;
    uint64_t end; /* of what is loaded: bytes, guest-physical */
    uint64_t entry;
    bool mb1;
    const char **why;
};

static int refuse(struct loader *l, int rc, const char *why)
{
    *l->why = why;
    return rc;
}

/* A header with `magic` in the first `limit` bytes, at `align`, whose checksum is right. */
static bool has_header(const struct loader *l, uint32_t magic, uint64_t limit, uint64_t align)
{
    for (uint64_t i = 0; i + 16 <= MIN(l->len, limit); i += align) {
        uint32_t h[4];

        memcpy(h, l->elf + i, sizeof(h));
        if (h[0] != magic) {
            continue;
        }
        if (magic == MB1_HEADER_MAGIC ? h[0] + h[1] + h[2] == 0 : h[0] + h[1] + h[2] + h[3] == 0) {
            return true;
        }
    }
    return false;
}

/* One PT_LOAD, both ELF classes. */
struct pt_load {
    uint64_t offset, vaddr, paddr, filesz, memsz;
};

static int load_segment(struct loader *l, const struct pt_load *s, uint64_t e_entry)
{
    uint64_t end;

    if (s->memsz == 0) {
        return 0;
    }
    if (s->filesz > s->memsz || s->offset > l->len || s->filesz > l->len - s->offset) {
        return refuse(l, -ENOEXEC, "a segment reaches outside the file");
    }
    if (__builtin_add_overflow(s->paddr, s->memsz, &end) || end > MIN(l->d->memory_bytes, GIB(3))) {
        return refuse(l, -ENOSPC, "a segment reaches outside the guest's memory");
    }
    /* Fresh memory is zero, so .bss needs nothing; segments that overlap overwrite each other. */
    if (domain_write(l->d, s->paddr, l->elf + s->offset, s->filesz) != 0) {
        return refuse(l, -ENOSPC, "a segment reaches outside the guest's memory");
    }
    l->end = MAX(l->end, end);
    if (e_entry >= s->vaddr && e_entry - s->vaddr < s->memsz) {
        l->entry = s->paddr + (e_entry - s->vaddr);
    }
    return 0;
}

static bool read_segment(const struct loader *l, bool elf64, uint64_t at, struct pt_load *s)
{
    if (elf64) {
        struct elf64_phdr p;

        memcpy(&p, l->elf + at, sizeof(p));
        *s = (struct pt_load){p.offset, p.vaddr, p.paddr, p.filesz, p.memsz};
        return p.type == ELF_PT_LOAD;
    }
    struct elf32_phdr p;

    memcpy(&p, l->elf + at, sizeof(p));
    *s = (struct pt_load){p.offset, p.vaddr, p.paddr, p.filesz, p.memsz};
    return p.type == ELF_PT_LOAD;
}

static int load_elf(struct loader *l)
{
    struct elf64_header e64;
    struct elf32_header e32;
    uint64_t phoff, phentsize, phnum, entry;
    bool elf64;

    if (l->len < sizeof(e64)) {
        return refuse(l, -ENOEXEC, "shorter than an ELF header");
    }
    memcpy(&e64, l->elf, sizeof(e64));
    memcpy(&e32, l->elf, sizeof(e32));
    elf64 = e64.class == ELF_CLASS_64;
    if (e64.magic != ELF_MAGIC || (!elf64 && e32.class != ELF_CLASS_32)) {
        return refuse(l, -ENOEXEC, "not an ELF file");
    }
    if ((elf64 ? e64.machine : e32.machine) != (elf64 ? ELF_MACHINE_X86_64 : ELF_MACHINE_386)) {
        return refuse(l, -ENOEXEC, "an ELF file for another machine");
    }
    phoff = elf64 ? e64.phoff : e32.phoff;
    phnum = elf64 ? e64.phnum : e32.phnum;
    phentsize = elf64 ? e64.phentsize : e32.phentsize;
    entry = elf64 ? e64.entry : e32.entry;
    if (phentsize < (elf64 ? sizeof(struct elf64_phdr) : sizeof(struct elf32_phdr)) ||
        phoff > l->len || phnum * phentsize > l->len - phoff) {
        return refuse(l, -ENOEXEC, "program headers reach outside the file");
    }
    l->entry = UINT64_MAX;
    for (uint64_t i = 0; i < phnum; i++) {
        struct pt_load s;
        int rc = read_segment(l, elf64, phoff + i * phentsize, &s) ? load_segment(l, &s, entry) : 0;

        if (rc != 0) {
            return rc;
        }
    }
    if (l->entry > UINT32_MAX) {
        return refuse(l, -ENOEXEC, "the entry point lies in no segment");
    }
    return 0;
}

/* Puts bytes behind everything loaded so far; *at is where. */
static int place(struct loader *l, const void *data, uint64_t len, uint64_t align, uint64_t *at)
{
    uint64_t start = align_up(l->end, align);

    if (domain_write(l->d, start, data, len) != 0 || start + len > GIB(3)) {
        return refuse(l, -ENOSPC, "modules or boot information do not fit in the guest's memory");
    }
    *at = start;
    l->end = start + len;
    return 0;
}

static int place_modules(struct loader *l, const struct guest_module *modules, size_t nr,
                         struct mb1_module *out)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < nr; i++) {
        uint64_t at = 0, cmdline = 0;

        rc = place(l, modules[i].data, modules[i].bytes, PAGE_SIZE, &at);
        if (rc == 0) {
            rc = place(l, modules[i].cmdline, strlen(modules[i].cmdline) + 1, 8, &cmdline);
        }
        out[i] = (struct mb1_module){(uint32_t)at, (uint32_t)(at + modules[i].bytes),
                                     (uint32_t)cmdline, 0};
    }
    return rc;
}

/* The guest's memory map: start, end, RAM or not; returns the number of entries. */
static size_t memory_map(const struct domain *d, struct e820_range map[4])
{
    uint64_t low = MIN(d->memory_bytes, GIB(3));
    size_t n = 0;

    map[n++] = (struct e820_range){0, LOW_RAM_END, E820_RAM};
    map[n++] = (struct e820_range){LOW_RAM_END, HIGH_RAM_START, MB_MEMORY_RESERVED};
    map[n++] = (struct e820_range){HIGH_RAM_START, low, E820_RAM};
    if (d->memory_bytes > low) {
        map[n++] = (struct e820_range){GIB(4), GIB(4) + d->memory_bytes - low, E820_RAM};
    }
    return n;
}

static int write_info1(struct loader *l, const char *cmdline, const struct mb1_module *mods,
                       size_t nr_mods, uint64_t *info_at)
{
    static const char name[] = "molt";
    struct mb1_info info = {.flags = MB1_INFO_MEMORY | MB1_INFO_CMDLINE | MB1_INFO_MODS |
                                     MB1_INFO_MMAP | MB1_INFO_LOADER};
    struct mb1_mmap mmap[4];
    struct e820_range map[4];
    size_t n = memory_map(l->d, map);
    uint64_t at;
    int rc;

    for (size_t i = 0; i < n; i++) {
        mmap[i] = (struct mb1_mmap){sizeof(mmap[0]) - 4, map[i].start, map[i].end - map[i].start,
                                    map[i].type};
    }
    info.mem_lower = LOW_RAM_END / 1024;
    info.mem_upper = (uint32_t)((map[2].end - HIGH_RAM_START) / 1024);
    info.mods_count = (uint32_t)nr_mods;
    rc = place(l, cmdline, strlen(cmdline) + 1, PAGE_SIZE, &at);
    info.cmdline = (uint32_t)at;
    if (rc == 0) {
        rc = place(l, name, sizeof(name), 8, &at);
        info.boot_loader_name = (uint32_t)at;
    }
    if (rc == 0) {
        rc = place(l, mods, nr_mods * sizeof(*mods), 8, &at);
        info.mods_addr = (uint32_t)at;
    }
    if (rc == 0) {
        rc = place(l, mmap, n * sizeof(mmap[0]), 8, &at);
        info.mmap_addr = (uint32_t)at;
        info.mmap_length = (uint32_t)(n * sizeof(mmap[0]));
    }
    return rc == 0 ? place(l, &info, sizeof(info), 8, info_at) : rc;
}

/* Appends a multiboot2 tag of a fixed part and a string or array. */
static int tag2(struct loader *l, uint32_t type, const void *fixed, size_t fixed_len,
                const void *rest, size_t rest_len)
{
    uint32_t head[2] = {type, (uint32_t)(sizeof(head) + fixed_len + rest_len)};
    uint64_t at;
    int rc = place(l, head, sizeof(head), 8, &at);

    if (rc == 0) {
        rc = place(l, fixed, fixed_len, 1, &at);
    }
    return rc == 0 ? place(l, rest, rest_len, 1, &at) : rc;
}

static int write_info2(struct loader *l, const char *cmdline, const struct guest_module *modules,
                       const struct mb1_module *mods, size_t nr_mods, uint64_t *info_at)
{
    uint32_t head[2] = {0, 0};
    uint32_t mmap_head[2] = {sizeof(struct mb2_mmap_entry), 0};
    struct mb2_mmap_entry mmap[4];
    struct e820_range map[4];
    size_t n = memory_map(l->d, map);
    uint32_t meminfo[2] = {LOW_RAM_END / 1024, (uint32_t)((map[2].end - HIGH_RAM_START) / 1024)};
    int rc = place(l, head, sizeof(head), PAGE_SIZE, info_at);

    for (size_t i = 0; i < n; i++) {
        mmap[i] = (struct mb2_mmap_entry){map[i].start, map[i].end - map[i].start, map[i].type, 0};
    }
    if (rc == 0) {
        rc = tag2(l, MB2_TAG_CMDLINE, "", 0, cmdline, strlen(cmdline) + 1);
    }
    if (rc == 0) {
        rc = tag2(l, MB2_TAG_LOADER, "", 0, "molt", sizeof("molt"));
    }
    for (size_t i = 0; rc == 0 && i < nr_mods; i++) {
        uint32_t range[2] = {mods[i].start, mods[i].end};

        rc = tag2(l, MB2_TAG_MODULE, range, sizeof(range), modules[i].cmdline,
                  strlen(modules[i].cmdline) + 1);
    }
    if (rc == 0) {
        rc = tag2(l, MB2_TAG_MEMINFO, meminfo, sizeof(meminfo), "", 0);
    }
    if (rc == 0) {
        rc = tag2(l, MB2_TAG_MMAP, mmap_head, sizeof(mmap_head), mmap, n * sizeof(mmap[0]));
    }
    if (rc == 0) {
        rc = tag2(l, MB2_TAG_END, "", 0, "", 0);
    }
    head[0] = (uint32_t)(l->end - *info_at);
    return rc == 0 ? domain_write(l->d, *info_at, head, sizeof(head)) : rc;
}

/* "I386 machine state" of both specifications. */
static void first_state(struct vcpu_state *s, uint64_t entry, uint32_t magic, uint64_t info)
{
    vcpu_state_reset(s);
    for (unsigned int i = 0; i < SEG_LDTR; i++) {
        s->seg[i] = (struct segment_reg){
            .selector = SEL_DATA, .base = 0, .limit = FLAT_LIMIT, .access = ACCESS_DATA32};
    }
    s->seg[SEG_CS].selector = SEL_CODE;
    s->seg[SEG_CS].access = ACCESS_CODE32;
    s->seg[SEG_LDTR] = (struct segment_reg){.access = SEG_UNUSABLE};
    s->seg[SEG_TR] = (struct segment_reg){.limit = 0x67, .access = ACCESS_TSS_BUSY};
    s->gdtr = (struct table_reg){0, 0};
    s->idtr = (struct table_reg){0, 0};
    s->cr0 = CR0_PE | CR0_ET;
    s->rip = entry;
    s->gpr[GPR_RAX] = magic;
    s->gpr[GPR_RBX] = info;
}

int guest_load(struct domain *d, const uint8_t *elf, uint64_t len, const char *cmdline,
               const struct guest_module *modules, size_t nr_modules, struct vcpu_state *state,
               const char **why)
{
    struct loader l = {.d = d, .elf = elf, .len = len, .why = why};
    struct mb1_module *mods = NULL;
    uint64_t info = 0;
    int rc;

    l.mb1 = has_header(&l, MB1_HEADER_MAGIC, MB1_HEADER_LIMIT, 4);
    if (!l.mb1 && !has_header(&l, MB2_HEADER_MAGIC, MB2_HEADER_LIMIT, 8)) {
        return refuse(&l, -ENOEXEC, "no multiboot1 or multiboot2 header");
    }
    rc = load_elf(&l);
    if (rc != 0) {
        return rc;
    }
    l.end = MAX(l.end, HIGH_RAM_START); /* modules and information stay out of low memory */
    mods = kzalloc((nr_modules + 1) * sizeof(*mods));
    if (mods == NULL) {
        return refuse(&l, -ENOMEM, "out of memory");
    }
    rc = place_modules(&l, modules, nr_modules, mods);
    if (rc == 0) {
        rc = l.mb1 ? write_info1(&l, cmdline, mods, nr_modules, &info)
                   : write_info2(&l, cmdline, modules, mods, nr_modules, &info);
    }
    kfree(mods);
    if (rc == 0) {
        first_state(state, l.entry, l.mb1 ? MB1_BOOT_MAGIC : MB2_BOOT_MAGIC, info);
    }
    return rc;
}
