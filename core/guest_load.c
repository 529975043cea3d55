/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest payloads: which kind it is, and the multiboot kinds: ELF into guest memory, boot
 * information, first register state.
 *
 * The payload is untrusted: every range is checked against the file and against the guest's
 * memory. Host test: tests/host/test_guest_load.c
 * Multiboot specification 0.6.96 and Multiboot2 specification 2.0, "Boot information format",
 * "I386 machine state".
 */
#include "hv/guest_load.h"

#include "hv/e820.h"
#include "hv/errno.h"
#include "hv/guest_elf.h"
#include "hv/linux_load.h"
#include "hv/slab.h"
#include "hv/string.h"
#include "hw/multiboot.h"
#include "hw/x86.h"

#define FLAT_LIMIT 0xffffffffU
#define ACCESS_CODE32 0xc09bU
#define ACCESS_DATA32 0xc093U
#define ACCESS_TSS_BUSY 0x8bU
#define SEL_CODE 0x08
#define SEL_DATA 0x10

struct loader {
    struct domain *d;
    const struct guest_payload *p;
    uint64_t end; /* of what is loaded: bytes, guest-physical */
    const char **why;
};

static int refuse(struct loader *l, int rc, const char *why)
{
    *l->why = why;
    return rc;
}

/* A header with `magic` in the first `limit` bytes, at `align`, whose checksum is right. */
static bool has_header(const struct guest_payload *p, uint32_t magic, uint64_t limit,
                       uint64_t align)
{
    size_t bytes = magic == MB1_HEADER_MAGIC ? 12 : 16;

    for (uint64_t i = 0; i + bytes <= MIN(p->bytes, limit); i += align) {
        uint32_t h[4];

        memcpy(h, p->data + i, bytes);
        if (h[0] != magic) {
            continue;
        }
        if (magic == MB1_HEADER_MAGIC ? h[0] + h[1] + h[2] == 0 : h[0] + h[1] + h[2] + h[3] == 0) {
            return true;
        }
    }
    return false;
}

static bool is_multiboot1(const struct guest_payload *p)
{
    return has_header(p, MB1_HEADER_MAGIC, MB1_HEADER_LIMIT, 4);
}

static bool is_multiboot(const struct guest_payload *p)
{
    return is_multiboot1(p) || has_header(p, MB2_HEADER_MAGIC, MB2_HEADER_LIMIT, 8);
}

/* Puts bytes behind everything loaded so far; *at is where. */
static int place(struct loader *l, const void *data, uint64_t len, uint64_t align, uint64_t *at)
{
    uint64_t start = align_up(l->end, align);

    if (domain_write(l->d, start, data, len) != 0 || start + len > GUEST_LOW_END) {
        return refuse(l, -ENOSPC, "modules or boot information do not fit in the guest's memory");
    }
    *at = start;
    l->end = start + len;
    return 0;
}

static int place_modules(struct loader *l, struct mb1_module *out)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < l->p->nr_modules; i++) {
        const struct guest_module *m = &l->p->modules[i];
        uint64_t at = 0, cmdline = 0;

        rc = place(l, m->data, m->bytes, PAGE_SIZE, &at);
        if (rc == 0) {
            rc = place(l, m->cmdline, strlen(m->cmdline) + 1, 8, &cmdline);
        }
        out[i] = (struct mb1_module){(uint32_t)at, (uint32_t)(at + m->bytes), (uint32_t)cmdline, 0};
    }
    return rc;
}

/* The guest's memory map: start, end, RAM or not; returns the number of entries. */
static size_t memory_map(const struct domain *d, struct e820_range map[4])
{
    uint64_t low = MIN(d->memory_bytes, GUEST_LOW_END);
    size_t n = 0;

    map[n++] = (struct e820_range){0, GUEST_BIOS_START, E820_RAM};
    map[n++] = (struct e820_range){GUEST_BIOS_START, GUEST_BIOS_END, MB_MEMORY_RESERVED};
    map[n++] = (struct e820_range){GUEST_BIOS_END, low, E820_RAM};
    if (d->memory_bytes > low) {
        map[n++] = (struct e820_range){GIB(4), GIB(4) + d->memory_bytes - low, E820_RAM};
    }
    return n;
}

static int write_info1(struct loader *l, const struct mb1_module *mods, uint64_t *info_at)
{
    const char *cmdline = l->p->cmdline;
    size_t nr_mods = l->p->nr_modules;
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
    info.mem_lower = GUEST_BIOS_START / 1024;
    info.mem_upper = (uint32_t)((map[2].end - GUEST_BIOS_END) / 1024);
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

static int write_info2(struct loader *l, const struct mb1_module *mods, uint64_t *info_at)
{
    const char *cmdline = l->p->cmdline;
    const struct guest_module *modules = l->p->modules;
    size_t nr_mods = l->p->nr_modules;
    uint32_t head[2] = {0, 0};
    uint32_t mmap_head[2] = {sizeof(struct mb2_mmap_entry), 0};
    struct mb2_mmap_entry mmap[4];
    struct e820_range map[4];
    size_t n = memory_map(l->d, map);
    uint32_t meminfo[2] = {GUEST_BIOS_START / 1024,
                           (uint32_t)((map[2].end - GUEST_BIOS_END) / 1024)};
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

void guest_state_flat32(struct vcpu_state *s, uint64_t entry)
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
}

static int multiboot_load(struct domain *d, const struct guest_payload *p, struct vcpu_state *state,
                          const char **why)
{
    struct loader l = {.d = d, .p = p, .why = why};
    bool mb1 = is_multiboot1(p);
    struct mb1_module *mods = NULL;
    struct elf_file elf;
    struct elf_image image;
    uint64_t info = 0;
    int rc = elf_open(&elf, p->data, p->bytes, why);

    if (rc == 0) {
        rc = elf_load(d, &elf, GUEST_LOW_END, &image, why);
    }
    if (rc != 0) {
        return rc;
    }
    if (image.entry > UINT32_MAX) {
        return refuse(&l, -ENOEXEC, "the entry point lies in no segment");
    }
    l.end = MAX(image.end, GUEST_BIOS_END); /* modules and information stay out of low memory */
    mods = kzalloc((p->nr_modules + 1) * sizeof(*mods));
    if (mods == NULL) {
        return refuse(&l, -ENOMEM, "out of memory");
    }
    rc = place_modules(&l, mods);
    if (rc == 0) {
        rc = mb1 ? write_info1(&l, mods, &info) : write_info2(&l, mods, &info);
    }
    kfree(mods);
    if (rc == 0) {
        /* "I386 machine state" of both specifications. */
        guest_state_flat32(state, image.entry);
        state->gpr[GPR_RAX] = mb1 ? MB1_BOOT_MAGIC : MB2_BOOT_MAGIC;
        state->gpr[GPR_RBX] = info;
    }
    return rc;
}

/* The first that knows the payload loads it. */
static const struct {
    bool (*knows)(const struct guest_payload *p);
    int (*load)(struct domain *d, const struct guest_payload *p, struct vcpu_state *state,
                const char **why);
} loaders[] = {
    {linux_is_bzimage, linux_load},
    {pvh_is_kernel, pvh_load},
    {is_multiboot, multiboot_load},
};

int guest_load(struct domain *d, const struct guest_payload *payload, struct vcpu_state *state,
               const char **why)
{
    for (size_t i = 0; i < ARRAY_SIZE(loaders); i++) {
        if (loaders[i].knows(payload)) {
            return loaders[i].load(d, payload, state, why);
        }
    }
    *why = "no Linux bzImage, PVH note, multiboot1 or multiboot2 header";
    return -ENOEXEC;
}
