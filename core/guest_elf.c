/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ELF files of guests: every range is checked against the file and against the guest's memory.
 *
 * System V ABI, "Object Files": "ELF Header", "Program Header", "Note Section".
 * Host test: tests/host/test_linux_load.c
 */
#include "hv/guest_elf.h"

#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/string.h"
#include "hw/elf.h"

#define NOTE_ALIGN_DEFAULT 4U
#define NOTE_ALIGN_8 8U

static int refuse(const char **why, int rc, const char *text)
{
    *why = text;
    return rc;
}

int elf_open(struct elf_file *f, const uint8_t *data, uint64_t bytes, const char **why)
{
    struct elf64_header e64;
    struct elf32_header e32;
    bool elf64;

    if (bytes < sizeof(e64)) {
        return refuse(why, -ENOEXEC, "not an ELF file");
    }
    memcpy(&e64, data, sizeof(e64));
    if (e64.magic != ELF_MAGIC) {
        return refuse(why, -ENOEXEC, "not an ELF file");
    }
    memcpy(&e32, data, sizeof(e32));
    elf64 = e64.class == ELF_CLASS_64;
    if (!elf64 && e32.class != ELF_CLASS_32) {
        return refuse(why, -ENOEXEC, "neither a 32-bit nor a 64-bit ELF file");
    }
    if ((elf64 ? e64.machine : e32.machine) != (elf64 ? ELF_MACHINE_X86_64 : ELF_MACHINE_386)) {
        return refuse(why, -ENOEXEC, "an ELF file for another machine");
    }
    *f = (struct elf_file){
        .data = data,
        .bytes = bytes,
        .elf64 = elf64,
        .entry = elf64 ? e64.entry : e32.entry,
        .phoff = elf64 ? e64.phoff : e32.phoff,
        .phnum = elf64 ? e64.phnum : e32.phnum,
        .phentsize = elf64 ? e64.phentsize : e32.phentsize,
    };
    if (f->phentsize < (elf64 ? sizeof(struct elf64_phdr) : sizeof(struct elf32_phdr)) ||
        f->phoff > bytes || f->phnum * f->phentsize > bytes - f->phoff) {
        return refuse(why, -ENOEXEC, "program headers reach outside the file");
    }
    return 0;
}

struct elf_segment elf_segment(const struct elf_file *f, uint64_t i)
{
    const uint8_t *at = f->data + f->phoff + i * f->phentsize;
    struct elf64_phdr p64;
    struct elf32_phdr p32;

    if (f->elf64) {
        memcpy(&p64, at, sizeof(p64));
        return (struct elf_segment){p64.type,   p64.offset, p64.vaddr, p64.paddr,
                                    p64.filesz, p64.memsz,  p64.align};
    }
    memcpy(&p32, at, sizeof(p32));
    return (struct elf_segment){p32.type,   p32.offset, p32.vaddr, p32.paddr,
                                p32.filesz, p32.memsz,  p32.align};
}

static bool in_file(const struct elf_file *f, const struct elf_segment *s)
{
    return s->offset <= f->bytes && s->filesz <= f->bytes - s->offset;
}

static int load_segment(struct domain *d, const struct elf_file *f, const struct elf_segment *s,
                        uint64_t limit, struct elf_image *image, const char **why)
{
    uint64_t end;

    if (s->filesz > s->memsz || !in_file(f, s)) {
        return refuse(why, -ENOEXEC, "a segment reaches outside the file");
    }
    if (__builtin_add_overflow(s->paddr, s->memsz, &end) || end > MIN(d->memory_bytes, limit)) {
        return refuse(why, -ENOSPC, "a segment reaches outside the guest's memory");
    }
    /* Fresh memory is zero, so .bss needs nothing; segments that overlap overwrite each other. */
    if (domain_write(d, s->paddr, f->data + s->offset, s->filesz) != 0) {
        return refuse(why, -ENOSPC, "a segment reaches outside the guest's memory");
    }
    image->start = MIN(image->start, s->paddr);
    image->end = MAX(image->end, end);
    if (f->entry >= s->vaddr && f->entry - s->vaddr < s->memsz) {
        image->entry = s->paddr + (f->entry - s->vaddr);
    }
    return 0;
}

int elf_load(struct domain *d, const struct elf_file *f, uint64_t limit, struct elf_image *image,
             const char **why)
{
    struct elf_image loaded = {.start = UINT64_MAX, .end = 0, .entry = UINT64_MAX};

    for (uint64_t i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);
        int rc;

        if (s.type != ELF_PT_LOAD || s.memsz == 0) {
            continue;
        }
        rc = load_segment(d, f, &s, limit, &loaded, why);
        if (rc != 0) {
            return rc;
        }
    }
    *image = loaded;
    return 0;
}

bool elf_loads(const struct elf_file *f, uint64_t pa)
{
    for (uint64_t i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);

        if (s.type == ELF_PT_LOAD && pa >= s.paddr && pa - s.paddr < s.memsz) {
            return true;
        }
    }
    return false;
}

/* Looks through one PT_NOTE: entries of header, name and descriptor, each padded. */
static bool find_note(const uint8_t *data, uint64_t bytes, uint64_t align, const char *name,
                      uint32_t type, const uint8_t **desc, uint32_t *desc_bytes)
{
    uint64_t at = 0;

    while (bytes - at >= sizeof(struct elf_note)) {
        struct elf_note n;
        uint64_t name_at = at + sizeof(n), desc_at, end;

        memcpy(&n, data + at, sizeof(n));
        /* 32-bit sizes: no sum of these overflows. */
        desc_at = align_up(name_at + n.namesz, align);
        end = desc_at + n.descsz;
        if (end > bytes) {
            return false;
        }
        if (n.type == type && n.namesz == strlen(name) + 1 &&
            memcmp(data + name_at, name, n.namesz) == 0) {
            *desc = data + desc_at;
            *desc_bytes = n.descsz;
            return true;
        }
        at = MIN(align_up(end, align), bytes);
    }
    return false;
}

bool elf_note(const struct elf_file *f, const char *name, uint32_t type, const uint8_t **desc,
              uint32_t *desc_bytes)
{
    for (uint64_t i = 0; i < f->phnum; i++) {
        struct elf_segment s = elf_segment(f, i);
        uint64_t align = s.align == NOTE_ALIGN_8 ? NOTE_ALIGN_8 : NOTE_ALIGN_DEFAULT;

        if (s.type == ELF_PT_NOTE && in_file(f, &s) &&
            find_note(f->data + s.offset, s.filesz, align, name, type, desc, desc_bytes)) {
            return true;
        }
    }
    return false;
}
