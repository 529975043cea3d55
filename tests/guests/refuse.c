/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control domain's program for refusals: every damaged image and every bad argument must be
 * refused with the right error and a reason, and the guest goes on; then a good update works.
 *
 * Needs a good image (not the running one) as multiboot module. Command line: seed=N.
 */
#include "lib/bootinfo.h"
#include "lib/cpu.h"
#include "lib/fpuwin.h"
#include "lib/image.h"
#include "lib/lib.h"
#include "lib/molt.h"
#include "public/lu_abi.h"

static uint64_t rng;
static struct image good;
static struct image work; /* room for a copy of good, and a page */
static uint64_t refused;

/* ---- the check of one refusal ---- */

static struct hc_lu_status get_status(void)
{
    struct hc_lu_status status;
    int64_t r = molt_status(&status);

    if (r != 0) {
        damage("status", "HC_LU_STATUS returned %" P64 "d", r);
    }
    return status;
}

static bool terminated(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\0') {
            return true;
        }
    }
    return false;
}

/* The call returned r; want1 and want2 (0: only the first) are the errors that are right, and code
 * is the reason. */
static void expect(const char *what, int64_t r, int want1, int want2, uint32_t code)
{
    struct hc_lu_status s = get_status();
    bool ok = r < 0 && (r == -want1 || (want2 != 0 && r == -want2));

    if (!ok) {
        report(false, "refuse", "%s: returned %" P64 "d, expected %d or %d", what, r, -want1,
               -want2);
    } else if (s.last_result != r || s.refused != refused + 1) {
        report(false, "refuse",
               "%s: last result %d after %" P64 "d, refused %" P64 "u after %" P64 "u", what,
               s.last_result, r, s.refused, refused);
    } else if (s.code != code) {
        report(false, "refuse", "%s: code %u, expected %u: %s", what, s.code, code, s.reason);
    } else if (s.reason[0] == '\0' || !terminated(s.reason, sizeof(s.reason))) {
        report(false, "refuse", "%s: no reason given", what);
    } else {
        report(true, "refuse", "%s: %" P64 "d, %s", what, r, s.reason);
    }
    refused = s.refused;
}

/* A bad argument structure: refused, but whether it counts is open. */
static void expect_argument(const char *what, int64_t r, int want1, int want2)
{
    struct hc_lu_status s = get_status();
    bool ok = r < 0 && (r == -want1 || (want2 != 0 && r == -want2));

    report(ok && s.refused - refused <= 1, "argument",
           "%s: %" P64 "d, refused %" P64 "u after %" P64 "u", what, r, s.refused, refused);
    refused = s.refused;
}

/* ---- damaged images ---- */

static void fresh(void)
{
    work.bytes = good.bytes;
    memcpy(work.data, good.data, good.bytes);
}

static int64_t load_work(void)
{
    struct hc_lu_load load;
    int64_t r;

    image_scatter(&work, &rng, &load);
    /* molt computes with vector registers meanwhile: not with these. */
    fpu_window_begin(&rng);
    r = molt_load(&load);
    fpu_window_check();
    return r;
}

static void refuse_work(const char *what, int want, uint32_t code)
{
    expect(what, load_work(), want, 0, code);
    fresh();
}

/* The PT_LOAD that is lowest, or highest, in physical memory. */
static struct elf64_segment *load_segment(bool highest)
{
    struct elf64_segment *found = NULL;

    for (unsigned int i = 0; i < image_header(&work)->phnum; i++) {
        struct elf64_segment *s = image_segment(&work, i);

        if (s->type == ELF_PT_LOAD && s->memsz != 0 &&
            (found == NULL || (s->paddr > found->paddr) == highest)) {
            found = s;
        }
    }
    if (found == NULL) {
        damage("image", "the module has no PT_LOAD");
    }
    return found;
}

static void test_header(void)
{
    struct elf64_header *h = image_header(&work);

    h->ident[0] = 0;
    refuse_work("no ELF magic", HC_ENOEXEC, HC_LU_R_MALFORMED);
    memset(work.data, 0, good.bytes);
    refuse_work("all zeroes", HC_ENOEXEC, HC_LU_R_MALFORMED);
    memset(work.data, 0xff, good.bytes);
    refuse_work("all ones", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->ident[ELF_CLASS] = ELF_CLASS32;
    refuse_work("ELF32", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->ident[ELF_DATA] = ELF_BIG_ENDIAN;
    refuse_work("big-endian", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->machine = ELF_MACHINE_386;
    refuse_work("machine i386", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->type = ELF_TYPE_REL;
    refuse_work("relocatable file", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->phnum = 0;
    refuse_work("no program headers", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->phnum = UINT16_MAX;
    refuse_work("65535 program headers", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->phentsize = 1;
    refuse_work("program header size 1", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->phoff = good.bytes - 1;
    refuse_work("program headers cut off", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->phoff = UINT64_MAX - 8;
    refuse_work("program header offset wraps", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->entry = 0x10;
    refuse_work("entry outside", HC_ENOEXEC, HC_LU_R_MALFORMED);
    h->entry = UINT64_MAX;
    refuse_work("entry at the top", HC_ENOEXEC, HC_LU_R_MALFORMED);
}

static void test_truncated(void)
{
    const struct elf64_header *h = image_header(&good);
    uint64_t table_end = h->phoff + (uint64_t)h->phnum * h->phentsize;
    uint64_t needed = 0;
    uint64_t lengths[24] = {1, 4, 16, 63, 64, 65, table_end - 1, table_end};
    unsigned int n = 8;

    for (unsigned int i = 0; i < h->phnum; i++) {
        const struct elf64_segment *s = image_segment(&good, i);

        if (s->type == ELF_PT_LOAD && s->offset + s->filesz > needed) {
            needed = s->offset + s->filesz;
        }
    }
    for (unsigned int i = 1; i < 8; i++) {
        lengths[n++] = needed * i / 8;
    }
    lengths[n++] = PAGE_SIZE;
    lengths[n++] = needed - PAGE_SIZE;
    lengths[n++] = needed - 1;
    for (unsigned int i = 0; i < n; i++) {
        char what[48];

        if (lengths[i] == 0 || lengths[i] >= needed) {
            continue;
        }
        str_format(what, sizeof(what), "truncated to %" P64 "u bytes", lengths[i]);
        work.bytes = lengths[i];
        refuse_work(what, HC_ENOEXEC, HC_LU_R_MALFORMED);
    }
}

static void test_segments(void)
{
    struct elf64_segment *low = load_segment(false);
    struct elf64_segment *high = load_segment(true);

    if (low != high) {
        high->paddr = low->paddr;
        refuse_work("two segments at one place", HC_ENOEXEC, HC_LU_R_MALFORMED);
        low->memsz = high->paddr - low->paddr + PAGE_SIZE;
        refuse_work("a segment reaches into the next", HC_ENOEXEC, HC_LU_R_MALFORMED);
    }
    high->offset = (good.bytes + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    high->filesz = PAGE_SIZE;
    high->memsz = PAGE_SIZE;
    refuse_work("segment behind the file", HC_ENOEXEC, HC_LU_R_MALFORMED);
    high->offset = UINT64_MAX - PAGE_SIZE + 1;
    high->filesz = 2 * PAGE_SIZE;
    high->memsz = 2 * PAGE_SIZE;
    refuse_work("segment offset wraps", HC_ENOEXEC, HC_LU_R_MALFORMED);
    high->filesz = UINT64_MAX - 1;
    high->memsz = UINT64_MAX;
    refuse_work("segment size wraps", HC_ENOEXEC, HC_LU_R_MALFORMED);
    low->filesz = low->memsz + 1;
    refuse_work("more in the file than in memory", HC_ENOEXEC, HC_LU_R_MALFORMED);
    high->paddr += 0x10;
    refuse_work("segment not on a page boundary", HC_ENOEXEC, HC_LU_R_MALFORMED);
    low->flags |= ELF_PF_X | ELF_PF_W;
    refuse_work("segment writable and executable", HC_ENOEXEC, HC_LU_R_MALFORMED);
    for (unsigned int i = 0; i < image_header(&work)->phnum; i++) {
        image_segment(&work, i)->flags &= ~ELF_PF_X;
    }
    refuse_work("entry not executable", HC_ENOEXEC, HC_LU_R_MALFORMED);
    high->memsz = (uint64_t)1 << 62; /* nothing that its headers forbid */
    refuse_work("2^62 bytes of memory", HC_ENOEXEC, HC_LU_R_HASH);
}

static void test_notes(void)
{
    char *name;
    void *desc;
    uint32_t bytes;
    struct lu_note *note;

    if (!image_note(&work, LU_NOTE_NAME, LU_NOTE_TYPE, &name, &desc, &bytes) ||
        bytes < sizeof(*note)) {
        damage("image", "the module has no molt note");
    }
    note = desc;
    name[0] = 'n';
    refuse_work("no molt note", HC_ENOEXEC, HC_LU_R_NOTE);
    note->stream_min = 1000;
    note->stream_max = 1001;
    refuse_work("reads newer streams only", HC_EPROTO, HC_LU_R_STREAM);
    note->stream_min = 0;
    note->stream_max = 0;
    refuse_work("reads older streams only", HC_EPROTO, HC_LU_R_STREAM);
    note->stream_min = UINT32_MAX;
    note->stream_max = 0;
    refuse_work("stream versions the wrong way round", HC_ENOEXEC, HC_LU_R_NOTE);
    note->machine = 1;
    refuse_work("note for another machine", HC_ENOEXEC, HC_LU_R_MACHINE);
    memset(note->version, 'v', sizeof(note->version));
    refuse_work("version without an end", HC_ENOEXEC, HC_LU_R_NOTE);
    if (image_note(&work, "GNU", 3, &name, &desc, &bytes)) {
        name[0] = 'X';
        refuse_work("no build id", HC_ENOEXEC, HC_LU_R_MALFORMED);
    }
}

static void test_seal(void)
{
    struct lu_note_seal *seal;
    uint64_t blank, blank_end;
    void *desc;
    char *name;
    uint32_t bytes;

    if (!image_note(&work, LU_NOTE_NAME, LU_NOTE_SEAL_TYPE, &name, &desc, &bytes) ||
        bytes != sizeof(*seal)) {
        damage("image", "the module has no seal");
    }
    seal = desc;
    blank = (uint64_t)(seal->signature - work.data);
    blank_end = blank + sizeof(seal->signature);
    name[0] = 'n';
    refuse_work("no seal", HC_ENOEXEC, HC_LU_R_NOTE);
    seal->sha256[31] ^= 1;
    refuse_work("another hash", HC_ENOEXEC, HC_LU_R_HASH);
    seal->counter++;
    refuse_work("another counter", HC_ENOEXEC, HC_LU_R_HASH);
    seal->features = 0;
    refuse_work("other features", HC_ENOEXEC, HC_LU_R_HASH);
    if (cmdline_number("key", 0) != 0) { /* molt has lu_key=, and the image is signed by it */
        seal->signature[rand64(&rng) % sizeof(seal->signature)] ^= 1;
        refuse_work("a bit changed in the signature", HC_ENOEXEC, HC_LU_R_SIGNATURE);
        memset(seal->signature, 0, sizeof(seal->signature));
        refuse_work("not signed", HC_ENOEXEC, HC_LU_R_SIGNATURE);
        memset(seal->signature, 0xff, sizeof(seal->signature));
        refuse_work("signature too large", HC_ENOEXEC, HC_LU_R_SIGNATURE);
        memcpy(seal->signature, seal->signature + 32, 32);
        refuse_work("the same number twice", HC_ENOEXEC, HC_LU_R_SIGNATURE);
    }
    for (unsigned int i = 0; i < 12; i++) { /* one bit anywhere behind the headers */
        uint64_t at = PAGE_SIZE + rand64(&rng) % (good.bytes - PAGE_SIZE);
        char what[48];

        if (at + 256 < blank || at > blank_end + 64) { /* the notes are not meant */
            str_format(what, sizeof(what), "a bit changed in byte %" P64 "u", at);
            work.data[at] ^= (uint8_t)(1U << at % 8);
            refuse_work(what, HC_ENOEXEC, HC_LU_R_HASH);
        }
    }
}

/* ---- bad arguments ---- */

static void test_page_list(void)
{
    static const uint64_t bad_gfns[] = {(uint64_t)1 << 36, (uint64_t)1 << 52, UINT64_MAX};
    struct hc_info info;
    struct hc_lu_load load;
    uint64_t *list = image_page_list();

    molt_info(&info);
    image_scatter(&work, &rng, &load);
    list[load.pages / 2] = (info.memory_bytes > 0xc0000000U ? info.memory_bytes + 0x40000000U
                                                            : info.memory_bytes) /
                           PAGE_SIZE;
    expect("page just behind the memory", molt_load(&load), HC_EFAULT, 0, HC_LU_R_PAGES);
    for (size_t i = 0; i < ARRAY_SIZE(bad_gfns); i++) {
        image_scatter(&work, &rng, &load);
        list[load.pages - 1] = bad_gfns[i];
        expect("last page far outside the memory", molt_load(&load), HC_EFAULT, 0, HC_LU_R_PAGES);
    }
    image_scatter(&work, &rng, &load);
    load.bytes = load.pages * PAGE_SIZE + 1;
    expect("more bytes than pages hold", molt_load(&load), HC_EINVAL, 0, HC_LU_R_PAGES);
    load.bytes = (load.pages - 1) * PAGE_SIZE;
    expect("a page too many", molt_load(&load), HC_EINVAL, 0, HC_LU_R_PAGES);
    load.bytes = 0;
    expect("no bytes", molt_load(&load), HC_EINVAL, 0, HC_LU_R_PAGES);
    load.pages = 0;
    expect("no pages", molt_load(&load), HC_EINVAL, 0, HC_LU_R_PAGES);
    load.pages = (uint64_t)1 << 61;
    load.bytes = UINT64_MAX;
    expect("2^61 pages", molt_load(&load), HC_EINVAL, HC_E2BIG, HC_LU_R_PAGES);
    load.pages = (uint64_t)1 << 40;
    load.bytes = load.pages * PAGE_SIZE;
    expect("2^40 pages", molt_load(&load), HC_EFAULT, HC_E2BIG, HC_LU_R_PAGES);
    image_scatter(&work, &rng, &load);
    load.list = (uint64_t)1 << 46;
    expect("list outside the memory", molt_load(&load), HC_EFAULT, 0, HC_LU_R_PAGES);
    load.list = UINT64_MAX - 15;
    expect("list wraps", molt_load(&load), HC_EFAULT, HC_EINVAL, HC_LU_R_PAGES);
}

static void test_arguments(void)
{
    struct hc_lu_load load = {0};

    expect("nothing loaded", molt_call(HC_LU_EXEC, 0, 0, 0, 0), HC_ENOENT, 0, HC_LU_R_NO_IMAGE);
    load.module = 1000;
    expect("module out of range", molt_load(&load), HC_ENOENT, 0, HC_LU_R_NO_IMAGE);
    load.source = 7;
    expect("source unknown", molt_load(&load), HC_EINVAL, 0, HC_LU_R_ARGUMENTS);
    load.source = HC_LU_SOURCE_MODULE;
    load.module = HC_LU_MODULE_OTHER;
    expect_argument("structure too short",
                    molt_call(HC_LU_LOAD, (uintptr_t)&load, sizeof(load) - 1, 0, 0), HC_EINVAL, 0);
    expect_argument("structure of size 0", molt_call(HC_LU_LOAD, (uintptr_t)&load, 0, 0, 0),
                    HC_EINVAL, 0);
    expect_argument("structure outside the memory",
                    molt_call(HC_LU_LOAD, (uint64_t)1 << 46, sizeof(load), 0, 0), HC_EFAULT, 0);
    expect_argument("structure wraps", molt_call(HC_LU_LOAD, UINT64_MAX - 7, sizeof(load), 0, 0),
                    HC_EFAULT, HC_EINVAL);
}

/* ---- the good update at the end ---- */

static void test_good(void)
{
    struct hc_info before;
    struct hc_info after;
    struct hc_lu_status s;
    char want[BUILD_ID_CHARS];
    int64_t r;

    molt_info(&before);
    image_build_id(&good, want);
    r = load_work();
    s = get_status();
    report(r == 0 && s.state == HC_LU_LOADED && strcmp(s.loaded_build_id, want) == 0 &&
               s.refused == refused,
           "good", "load returned %" P64 "d, state %u, build %s %s", r, s.state, s.loaded_build_id,
           s.reason);
    image_pages_scribble();
    r = molt_call(HC_LU_EXEC, 0, 0, 0, 0);
    s = get_status();
    molt_info(&after);
    report(r == 0 && after.updates == before.updates + 1 && strcmp(after.build_id, want) == 0 &&
               s.refused == refused,
           "good", "update returned %" P64 "d, updates %" P64 "u -> %" P64 "u, build %s %s", r,
           before.updates, after.updates, after.build_id, s.reason);
}

int guest_main(void)
{
    struct hc_info info;

    if (!molt_present() || molt_info(&info) != 0 || (info.flags & HC_INFO_CONTROL) == 0) {
        damage("refuse", "not the control domain of molt");
    }
    ram_init(true);
    paging_init();
    rng = cmdline_number("seed", 1);
    if (!image_other(info.build_id, &good)) {
        damage("refuse", "no module holds an image other than %s", info.build_id);
    }
    work.data = ram_alloc(good.bytes / PAGE_SIZE + 1);
    image_pages_init(good.bytes);
    fresh();
    refused = get_status().refused;
    test_arguments();
    test_header();
    test_truncated();
    test_segments();
    test_notes();
    test_seal();
    test_page_list();
    test_good();
    report_area(&fpu_area);
    report_area(&avx_area);
    report_area(&avx512_area);
    report_area(&xcr0_area);
    report_end();
}
