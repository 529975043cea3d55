/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next image: ELF checks, ELF notes, placing.
 *
 * The file comes from a guest and is trusted in nothing; every header is copied out before it is
 * looked at, since nothing says that it is aligned.
 * Host test: tests/host/test_kimage.c, tests/host/fuzz/fuzz_elf.c
 */
#include "hv/kimage.h"

#include "hv/buddy.h"
#include "hw/elf.h"
#include "hv/errno.h"
#include "hv/lu.h"
#include "hv/seam.h"
#include "hv/string.h"
#include "public/hypercall.h"
#include "public/lu_abi.h"

/* Segments are compared in pairs; an image of ours has a handful. */
#define PHNUM_MAX 64U

struct file {
    const uint8_t *data;
    size_t len;
    struct elf64_header header;
};

static int refuse(struct kimage_fault *fault, uint32_t code, const char *text)
{
    *fault = (struct kimage_fault){code, text};
    return code == HC_LU_R_STREAM ? -EPROTO : -ENOEXEC;
}

static int malformed(struct kimage_fault *fault, const char *text)
{
    return refuse(fault, HC_LU_R_MALFORMED, text);
}

static struct elf64_phdr phdr_at(const struct file *f, unsigned int i)
{
    struct elf64_phdr ph;

    memcpy(&ph, f->data + f->header.phoff + i * sizeof(ph), sizeof(ph));
    return ph;
}

static bool is_segment(const struct elf64_phdr *ph)
{
    return ph->type == ELF_PT_LOAD && ph->memsz > 0;
}

static bool in_file(const struct file *f, uint64_t offset, uint64_t bytes)
{
    return offset <= f->len && bytes <= f->len - offset;
}

static int check_header(struct file *f, const void *elf, size_t len, struct kimage_fault *fault)
{
    struct elf64_header *h = &f->header;

    f->data = elf;
    f->len = len;
    if (len < sizeof(*h)) {
        return malformed(fault, "image: shorter than an ELF header");
    }
    memcpy(h, elf, sizeof(*h));
    if (h->magic != ELF_MAGIC || h->class != ELF_CLASS_64 || h->data != ELF_DATA_LSB ||
        h->ident_version != ELF_VERSION_CURRENT || h->version != ELF_VERSION_CURRENT) {
        return malformed(fault, "image: not a little-endian ELF64 file");
    }
    if (h->type != ELF_TYPE_EXEC || h->machine != ELF_MACHINE_X86_64) {
        return malformed(fault, "image: not an x86-64 executable");
    }
    if (h->phnum == 0 || h->phnum > PHNUM_MAX || h->phentsize != sizeof(struct elf64_phdr)) {
        return malformed(fault, "image: program headers of an odd number or size");
    }
    if (!in_file(f, h->phoff, (uint64_t)h->phnum * sizeof(struct elf64_phdr))) {
        return malformed(fault, "image: truncated: program headers outside the file");
    }
    return 0;
}

/* One loadable segment by itself. */
static int check_segment(const struct file *f, const struct elf64_phdr *ph,
                         struct kimage_fault *fault)
{
    uint64_t end;

    if (ph->filesz > ph->memsz) {
        return malformed(fault, "image: segment larger in the file than in memory");
    }
    if (!in_file(f, ph->offset, ph->filesz)) {
        return malformed(fault, "image: truncated: segment outside the file");
    }
    if (!is_aligned(ph->paddr, PAGE_SIZE)) {
        return malformed(fault, "image: segment is not page-aligned");
    }
    if (__builtin_add_overflow(ph->paddr, ph->memsz, &end) ||
        __builtin_add_overflow(end, PAGE_SIZE, &end)) {
        return malformed(fault, "image: segment wraps around");
    }
    if ((ph->flags & ELF_PF_W) != 0 && (ph->flags & ELF_PF_X) != 0) {
        return malformed(fault, "image: segment is writable and executable");
    }
    return 0;
}

/* Segments start at pages, so two that do not overlap do not share a page either. */
static bool overlaps_earlier(const struct file *f, unsigned int nr, const struct elf64_phdr *ph)
{
    for (unsigned int i = 0; i < nr; i++) {
        struct elf64_phdr other = phdr_at(f, i);

        if (is_segment(&other) && ranges_overlap(ph->paddr, ph->paddr + ph->memsz, other.paddr,
                                                 other.paddr + other.memsz)) {
            return true;
        }
    }
    return false;
}

static int check_segments(const struct file *f, struct kimage_info *info,
                          struct kimage_fault *fault)
{
    uint64_t base = UINT64_MAX;
    uint64_t end = 0;

    for (unsigned int i = 0; i < f->header.phnum; i++) {
        struct elf64_phdr ph = phdr_at(f, i);
        int rc;

        if (ph.type != ELF_PT_LOAD) {
            continue;
        }
        rc = check_segment(f, &ph, fault);
        if (rc != 0) {
            return rc;
        }
        if (!is_segment(&ph)) {
            continue;
        }
        if (overlaps_earlier(f, i, &ph)) {
            return malformed(fault, "image: segments overlap");
        }
        base = MIN(base, ph.paddr);
        end = MAX(end, ph.paddr + ph.memsz);
        info->segments++;
    }
    if (info->segments == 0) {
        return malformed(fault, "image: no loadable segment");
    }
    info->paddr_base = base;
    info->mem_size = end - base;
    return 0;
}

/* The entry point is an address of the link, as boot loaders take it: it belongs to the segment
 * whose virtual range holds it, and must be code that the file brings along. */
static int check_entry(const struct file *f, struct kimage_info *info, struct kimage_fault *fault)
{
    for (unsigned int i = 0; i < f->header.phnum; i++) {
        struct elf64_phdr ph = phdr_at(f, i);
        uint64_t offset = f->header.entry - ph.vaddr;

        if (is_segment(&ph) && (ph.flags & ELF_PF_X) != 0 && f->header.entry >= ph.vaddr &&
            offset < ph.filesz) {
            info->entry = ph.paddr - info->paddr_base + offset;
            return 0;
        }
    }
    return malformed(fault, "image: entry point outside executable segments");
}

static bool printable(const char *text, size_t size)
{
    size_t n = strnlen(text, size);

    for (size_t i = 0; i < n; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return n > 0 && n < size;
}

static int take_molt_note(const uint8_t *desc, size_t size, struct kimage_info *info,
                          struct kimage_fault *fault)
{
    struct lu_note note;

    if (size != sizeof(note)) {
        return refuse(fault, HC_LU_R_NOTE, "image: molt note of a wrong size");
    }
    memcpy(&note, desc, sizeof(note));
    if (note.machine != LU_NOTE_MACHINE_X86_64) {
        return refuse(fault, HC_LU_R_MACHINE, "image: molt note for another machine");
    }
    if (note.stream_min > note.stream_max || !printable(note.version, sizeof(note.version))) {
        return refuse(fault, HC_LU_R_NOTE, "image: molt note is malformed");
    }
    info->flags = note.flags;
    info->stream_min = note.stream_min;
    info->stream_max = note.stream_max;
    memcpy(info->version, note.version, sizeof(info->version));
    return 0;
}

/* Lower-case hex, cut to what fits; build ids are 16 or 20 bytes. */
static int take_build_id(const uint8_t *desc, size_t size, struct kimage_info *info,
                         struct kimage_fault *fault)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = MIN(size, (sizeof(info->build_id) - 1) / 2);

    if (size == 0) {
        return malformed(fault, "image: build id is empty");
    }
    for (size_t i = 0; i < n; i++) {
        info->build_id[2 * i] = digits[desc[i] >> 4];
        info->build_id[2 * i + 1] = digits[desc[i] & 0xf];
    }
    return 0;
}

static int take_seal(const uint8_t *desc, size_t size, uint64_t offset, struct kimage_info *info,
                     struct kimage_fault *fault)
{
    if (size != sizeof(info->seal)) {
        return refuse(fault, HC_LU_R_NOTE, "image: seal note of a wrong size");
    }
    memcpy(&info->seal, desc, size);
    info->seal_at = offset;
    return 0;
}

static bool name_is(const uint8_t *name, size_t size, const char *text)
{
    return size == strlen(text) + 1 && memcmp(name, text, size) == 0;
}

/* Of doubled notes the first one counts. `offset`: of the description in the file. */
static int take_note(const struct elf_note *note, const uint8_t *name, const uint8_t *desc,
                     uint64_t offset, struct kimage_info *info, struct kimage_fault *fault)
{
    if (name_is(name, note->namesz, LU_NOTE_NAME) && note->type == LU_NOTE_SEAL_TYPE &&
        info->seal_at == 0) {
        return take_seal(desc, note->descsz, offset, info, fault);
    }
    if (name_is(name, note->namesz, LU_NOTE_NAME) && note->type == LU_NOTE_TYPE &&
        info->version[0] == '\0') {
        return take_molt_note(desc, note->descsz, info, fault);
    }
    if (name_is(name, note->namesz, ELF_NOTE_GNU) && note->type == ELF_NOTE_GNU_BUILD_ID &&
        info->build_id[0] == '\0') {
        return take_build_id(desc, note->descsz, info, fault);
    }
    return 0;
}

/* One PT_NOTE: a sequence of header, name, description, each padded to 4 (or 8, if so aligned). */
static int check_note_segment(const struct file *f, const struct elf64_phdr *ph,
                              struct kimage_info *info, struct kimage_fault *fault)
{
    uint64_t align = ph->align == 8 ? 8 : 4;
    const uint8_t *p = f->data + ph->offset;
    uint64_t left = ph->filesz;

    while (left > 0) {
        struct elf_note note;
        uint64_t desc_at;
        uint64_t total;
        int rc;

        if (left < sizeof(note)) {
            return malformed(fault, "image: note is cut off");
        }
        memcpy(&note, p, sizeof(note));
        /* 32-bit sizes: none of these sums can overflow. */
        desc_at = align_up(sizeof(note) + (uint64_t)note.namesz, align);
        total = desc_at + note.descsz;
        if (total > left) {
            return malformed(fault, "image: note is cut off");
        }
        rc = take_note(&note, p + sizeof(note), p + desc_at, (uint64_t)(p + desc_at - f->data),
                       info, fault);
        if (rc != 0) {
            return rc;
        }
        total = MIN(align_up(total, align), left); /* the last one's padding may be missing */
        p += total;
        left -= total;
    }
    return 0;
}

static int check_notes(const struct file *f, struct kimage_info *info, struct kimage_fault *fault)
{
    for (unsigned int i = 0; i < f->header.phnum; i++) {
        struct elf64_phdr ph = phdr_at(f, i);
        int rc;

        if (ph.type != ELF_PT_NOTE) {
            continue;
        }
        if (!in_file(f, ph.offset, ph.filesz)) {
            return malformed(fault, "image: truncated: notes outside the file");
        }
        rc = check_note_segment(f, &ph, info, fault);
        if (rc != 0) {
            return rc;
        }
    }
    if (info->version[0] == '\0') {
        return refuse(fault, HC_LU_R_NOTE, "image: no molt note");
    }
    if (info->build_id[0] == '\0') {
        return malformed(fault, "image: no build id");
    }
    return 0;
}

int kimage_parse(const void *elf, size_t len, struct kimage_info *out, struct kimage_fault *fault)
{
    struct kimage_info info = {.segments = 0};
    struct file f;
    int rc = check_header(&f, elf, len, fault);

    if (rc == 0) {
        rc = check_segments(&f, &info, fault);
    }
    if (rc == 0) {
        rc = check_entry(&f, &info, fault);
    }
    if (rc == 0) {
        rc = check_notes(&f, &info, fault);
    }
    if (rc != 0) {
        return rc;
    }
    if (info.stream_max < LU_STREAM_VERSION_MIN || info.stream_min > lu_stream_newest()) {
        return refuse(fault, HC_LU_R_STREAM, "image: reads no stream version that is written here");
    }
    if (info.seal_at == 0) {
        return refuse(fault, HC_LU_R_NOTE, "image: no seal note");
    }
    *out = info;
    return 0;
}

/* The file's bytes for the page at `offset` of the image: at most one segment has a part in it. */
static size_t page_bytes(const struct file *f, const struct kimage_info *info, uint64_t offset,
                         const uint8_t **bytes)
{
    for (unsigned int i = 0; i < f->header.phnum; i++) {
        struct elf64_phdr ph = phdr_at(f, i);
        uint64_t start = ph.paddr - info->paddr_base;

        if (is_segment(&ph) && offset >= start && offset - start < ph.filesz) {
            *bytes = f->data + ph.offset + (offset - start);
            return MIN(ph.filesz - (offset - start), PAGE_SIZE);
        }
    }
    return 0;
}

static void fill_page(uint8_t *page, const uint8_t *bytes, size_t n)
{
    if (n > 0) {
        memcpy(page, bytes, n);
    }
    memset(page + n, 0, PAGE_SIZE - n);
}

static int stage_page(struct reloc_list *list, paddr_t dest_pa, const uint8_t *bytes, size_t n)
{
    mfn_t mfn;

    if (n == 0) {
        reloc_zero(list, dest_pa);
        return list->error;
    }
    mfn = buddy_alloc(ORDER_4K, FRAME_IMAGE, OWNER_NONE);
    if (!mfn_valid(mfn)) {
        return -ENOMEM;
    }
    fill_page(mfn_to_va(mfn), bytes, n);
    reloc_copy(list, dest_pa, mfn_to_pa(mfn));
    return list->error;
}

int kimage_place(const struct kimage_info *info, const void *elf, paddr_t dest_pa, bool direct,
                 struct reloc_list *list)
{
    struct file f = {.data = elf};

    memcpy(&f.header, elf, sizeof(f.header));
    for (uint64_t offset = 0; offset < info->mem_size; offset += PAGE_SIZE) {
        const uint8_t *bytes = NULL;
        size_t n = page_bytes(&f, info, offset, &bytes);

        if (direct) {
            fill_page(mfn_to_va(pa_to_mfn(dest_pa + offset)), bytes, n);
        } else {
            int rc = stage_page(list, dest_pa + offset, bytes, n);

            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}
