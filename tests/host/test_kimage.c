/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/kimage.c: synthesised images, each refusal, and both ways of placing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/elf_image.h"
#include "fakes/heap.h"
#include "hv/errno.h"
#include "hv/kimage.h"
#include "hv/seam.h"
#include "public/hypercall.h"

static int teardown(void **state)
{
    (void)state;
    heap_fail_after(-1);
    assert_int_equal(heap_in_use(), 0);
    return 0;
}

/* Parses the first n bytes in memory of exactly that size, at an address with nothing to it. */
static int parse_exact(const struct elf_image *e, size_t n, struct kimage_info *info,
                       struct kimage_fault *fault)
{
    uint8_t *copy = malloc(n + 1);
    int rc;

    assert_non_null(copy);
    memcpy(copy + 1, e, n);
    rc = kimage_parse(copy + 1, n, info, fault);
    free(copy);
    return rc;
}

static void test_kimage_parse__good_image__gives_its_facts(void **state)
{
    struct elf_image e;
    struct kimage_info info;
    struct kimage_fault fault = {0, ""};

    (void)state;
    elf_image_make(&e);
    for (size_t i = 0; i < sizeof(e.notes.seal); i++) {
        ((uint8_t *)&e)[offsetof(struct elf_image, notes.seal) + i] = (uint8_t)(i + 1);
    }
    if (parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault) != 0) {
        fail_msg("%s", fault.text);
    }
    assert_int_equal(info.mem_size, IMAGE_MEM_BYTES);
    assert_int_equal(info.paddr_base, IMAGE_BASE);
    assert_int_equal(info.entry, IMAGE_ENTRY);
    assert_int_equal(info.segments, 3);
    assert_int_equal(info.stream_min, LU_STREAM_VERSION_MIN);
    assert_int_equal(info.stream_max, LU_STREAM_VERSION);
    assert_string_equal(info.version, "0.1.2");
    assert_int_equal(info.seal_at, offsetof(struct elf_image, notes.seal));
    assert_memory_equal(&info.seal, (uint8_t *)&e + info.seal_at, sizeof(info.seal));
    assert_string_equal(info.build_id, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff00010203");
}

/* ---- images that are good as well ---- */

static void segments_backwards(struct elf_image *e)
{
    struct elf64_phdr first = e->ph[0];

    e->ph[0] = e->ph[2];
    e->ph[2] = first;
}

static void empty_segment_anywhere(struct elf_image *e)
{
    e->header.phnum = 5;
    memset(e->gap, 0, sizeof(struct elf64_phdr));
    e->gap[0] = ELF_PT_LOAD;
}

static void unknown_header(struct elf_image *e)
{
    struct elf64_phdr ph = {.type = 0x6474e551, .flags = 7, .offset = UINT64_MAX, .filesz = 9};

    e->header.phnum = 5;
    memcpy(e->gap, &ph, sizeof(ph));
}

static void stream_range_reaches_down(struct elf_image *e)
{
    e->notes.note.stream_min = 0;
    e->notes.note.stream_max = LU_STREAM_VERSION_MIN;
}

static void stream_range_reaches_up(struct elf_image *e)
{
    e->notes.note.stream_min = LU_STREAM_VERSION;
    e->notes.note.stream_max = UINT32_MAX;
}

static void data_ends_with_the_file(struct elf_image *e)
{
    e->ph[2].memsz = e->ph[2].filesz;
}

static void notes_without_last_padding(struct elf_image *e)
{
    e->header.phnum = 5;
    e->ph[3].filesz = 36; /* the GNU note alone */
    {
        struct elf64_phdr ph = e->ph[3];
        struct elf_note head = {1, 1, 99};

        memcpy(e->gap + 64, &head, sizeof(head));
        ph.offset = offsetof(struct elf_image, gap) + 64;
        ph.filesz = 12 + 4 + 1;
        memcpy(e->gap, &ph, sizeof(ph));
        /* The molt note in a third one. */
        ph.offset = IMAGE_NOTES + 36;
        ph.filesz = sizeof(e->notes) - 36;
        e->header.phnum = 6;
        e->ph[1] = ph;
    }
}

static void test_kimage_parse__odd_but_good__is_accepted(void **state)
{
    static const struct {
        const char *name;
        void (*change)(struct elf_image *e);
    } cases[] = {
        {"segments_backwards", segments_backwards},
        {"empty_segment_anywhere", empty_segment_anywhere},
        {"unknown_header", unknown_header},
        {"stream_range_reaches_down", stream_range_reaches_down},
        {"stream_range_reaches_up", stream_range_reaches_up},
        {"data_ends_with_the_file", data_ends_with_the_file},
        {"notes_without_last_padding", notes_without_last_padding},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct elf_image e;
        struct kimage_info info;
        struct kimage_fault fault = {0, ""};

        elf_image_make(&e);
        cases[i].change(&e);
        if (parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault) != 0) {
            fail_msg("%s: %s", cases[i].name, fault.text);
        }
    }
}

/* ---- refusals: fields overwritten one at a time ---- */

#define FIELD(member) offsetof(struct elf_image, member), sizeof(((struct elf_image *)0)->member)

static const struct {
    const char *name;
    size_t at;
    size_t size;
    uint64_t value;
    int rc;
    const char *why;
    uint32_t code;
} spoiled[] = {
    {"magic", FIELD(header.magic), 0x464c457e, -ENOEXEC, "ELF64", HC_LU_R_MALFORMED},
    {"32-bit", FIELD(header.class), 1, -ENOEXEC, "ELF64", HC_LU_R_MALFORMED},
    {"big-endian", FIELD(header.data), 2, -ENOEXEC, "ELF64", HC_LU_R_MALFORMED},
    {"ident version", FIELD(header.ident_version), 2, -ENOEXEC, "ELF64", HC_LU_R_MALFORMED},
    {"version", FIELD(header.version), 0, -ENOEXEC, "ELF64", HC_LU_R_MALFORMED},
    {"relocatable", FIELD(header.type), 1, -ENOEXEC, "executable", HC_LU_R_MALFORMED},
    {"shared object", FIELD(header.type), 3, -ENOEXEC, "executable", HC_LU_R_MALFORMED},
    {"i386", FIELD(header.machine), 3, -ENOEXEC, "executable", HC_LU_R_MALFORMED},
    {"no program headers", FIELD(header.phnum), 0, -ENOEXEC, "program headers", HC_LU_R_MALFORMED},
    {"65535 program headers", FIELD(header.phnum), 0xffff, -ENOEXEC,
     "program headers", HC_LU_R_MALFORMED},
    {"program header size", FIELD(header.phentsize), 32, -ENOEXEC,
     "program headers", HC_LU_R_MALFORMED},
    {"program headers at the end", FIELD(header.phoff), IMAGE_FILE_BYTES - 223, -ENOEXEC,
     "headers outside", HC_LU_R_MALFORMED},
    {"program headers far away", FIELD(header.phoff), UINT64_MAX - 8, -ENOEXEC,
     "headers outside", HC_LU_R_MALFORMED},
    {"segment one byte too long", FIELD(ph[2].filesz), IMAGE_DATA_BYTES + 1, -ENOEXEC,
     "segment outside", HC_LU_R_MALFORMED},
    {"segment behind the file", FIELD(ph[0].offset), IMAGE_FILE_BYTES, -ENOEXEC,
     "segment outside", HC_LU_R_MALFORMED},
    {"offset wraps", FIELD(ph[0].offset), UINT64_MAX - 7, -ENOEXEC,
     "segment outside", HC_LU_R_MALFORMED},
    {"filesz above memsz", FIELD(ph[0].memsz), IMAGE_CODE_BYTES - 1, -ENOEXEC,
     "larger in the file", HC_LU_R_MALFORMED},
    {"filesz all ones", FIELD(ph[0].filesz), UINT64_MAX, -ENOEXEC,
     "larger in the file", HC_LU_R_MALFORMED},
    {"not page-aligned", FIELD(ph[1].paddr), IMAGE_BASE + IMAGE_RODATA_AT + 0x800, -ENOEXEC,
     "page-aligned", HC_LU_R_MALFORMED},
    {"memory wraps", FIELD(ph[2].memsz), UINT64_MAX - IMAGE_BASE, -ENOEXEC,
     "wraps", HC_LU_R_MALFORMED},
    {"last page wraps", FIELD(ph[2].paddr), UINT64_MAX - 0x3fff, -ENOEXEC,
     "wraps", HC_LU_R_MALFORMED},
    {"overlap by a byte", FIELD(ph[0].memsz), IMAGE_RODATA_AT + 1, -ENOEXEC,
     "overlap", HC_LU_R_MALFORMED},
    {"overlap as a whole", FIELD(ph[1].paddr), IMAGE_BASE + IMAGE_DATA_AT + 0x1000, -ENOEXEC,
     "overlap", HC_LU_R_MALFORMED},
    {"same place", FIELD(ph[1].paddr), IMAGE_BASE, -ENOEXEC, "overlap", HC_LU_R_MALFORMED},
    {"writable code", FIELD(ph[0].flags), 7, -ENOEXEC,
     "writable and executable", HC_LU_R_MALFORMED},
    {"executable data", FIELD(ph[2].flags), 3, -ENOEXEC,
     "writable and executable", HC_LU_R_MALFORMED},
    {"entry 0", FIELD(header.entry), 0, -ENOEXEC, "entry", HC_LU_R_MALFORMED},
    {"entry physical", FIELD(header.entry), IMAGE_BASE + IMAGE_ENTRY, -ENOEXEC,
     "entry", HC_LU_R_MALFORMED},
    {"entry behind the code", FIELD(header.entry), IMAGE_BASE + IMAGE_LINK + IMAGE_CODE_BYTES,
     -ENOEXEC, "entry", HC_LU_R_MALFORMED},
    {"entry in data", FIELD(header.entry), IMAGE_BASE + IMAGE_LINK + IMAGE_DATA_AT, -ENOEXEC,
     "entry", HC_LU_R_MALFORMED},
    {"code not executable", FIELD(ph[0].flags), 4, -ENOEXEC, "entry", HC_LU_R_MALFORMED},
    {"notes outside", FIELD(ph[3].filesz), IMAGE_FILE_BYTES - IMAGE_NOTES + 1, -ENOEXEC,
     "notes outside", HC_LU_R_MALFORMED},
    {"no notes", FIELD(ph[3].type), 9, -ENOEXEC, "no molt note", HC_LU_R_NOTE},
    {"empty notes", FIELD(ph[3].filesz), 0, -ENOEXEC, "no molt note", HC_LU_R_NOTE},
    {"notes cut in a header", FIELD(ph[3].filesz), 36 + 11, -ENOEXEC, "cut off", HC_LU_R_MALFORMED},
    {"notes cut in a description", FIELD(ph[3].filesz), 36 + 12 + 8 + 47, -ENOEXEC,
     "cut off", HC_LU_R_MALFORMED},
    {"note name too long", FIELD(notes.molt.namesz), 0xffffffff, -ENOEXEC,
     "cut off", HC_LU_R_MALFORMED},
    {"note description too long", FIELD(notes.gnu.descsz), 0xfffffffd, -ENOEXEC,
     "cut off", HC_LU_R_MALFORMED},
    {"another name", FIELD(notes.molt_name[0]), 'M', -ENOEXEC, "no molt note", HC_LU_R_NOTE},
    {"name with a tail", FIELD(notes.molt.namesz), 6, -ENOEXEC, "no molt note", HC_LU_R_NOTE},
    {"another type", FIELD(notes.molt.type), 77, -ENOEXEC, "no molt note", HC_LU_R_NOTE},
    {"no build id", FIELD(notes.gnu.type), 1, -ENOEXEC, "no build id", HC_LU_R_MALFORMED},
    {"molt note too short", FIELD(notes.molt.descsz), 44, -ENOEXEC, "wrong size", HC_LU_R_NOTE},
    {"note for another machine", FIELD(notes.note.machine), 0xaa64, -ENOEXEC,
     "another machine", HC_LU_R_MACHINE},
    {"empty stream range", FIELD(notes.note.stream_min), LU_STREAM_VERSION + 1, -ENOEXEC,
     "malformed", HC_LU_R_NOTE},
    {"no version", FIELD(notes.note.version[0]), 0, -ENOEXEC, "malformed", HC_LU_R_NOTE},
    {"unprintable version", FIELD(notes.note.version[2]), 0x1b, -ENOEXEC,
     "malformed", HC_LU_R_NOTE},
    {"no seal", FIELD(notes.seal_head.type), 3, -ENOEXEC, "no seal", HC_LU_R_NOTE},
    {"another's seal", FIELD(notes.seal_name[3]), 'x', -ENOEXEC, "no seal", HC_LU_R_NOTE},
    {"seal too short", FIELD(notes.seal_head.descsz), 104, -ENOEXEC, "wrong size", HC_LU_R_NOTE},
    {"seal too long", FIELD(notes.seal_head.descsz), 113, -ENOEXEC, "cut off",
     HC_LU_R_MALFORMED},
    {"seal cut", FIELD(ph[3].filesz), 104 + 20 + 111, -ENOEXEC, "cut off", HC_LU_R_MALFORMED},
    {"notes end before the seal", FIELD(ph[3].filesz), 104, -ENOEXEC, "no seal", HC_LU_R_NOTE},
    {"streams too old", FIELD(notes.note), 0, -EPROTO, "no stream version", HC_LU_R_STREAM},
    {"streams too new", FIELD(notes.note), 1, -EPROTO, "no stream version", HC_LU_R_STREAM},
};

static void test_kimage_parse__spoiled_fields__are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(spoiled); i++) {
        struct kimage_info info = {.segments = 77};
        struct elf_image e;
        struct kimage_fault fault = {0, ""};
        int rc;

        elf_image_make(&e);
        if (spoiled[i].rc == -EPROTO) {
            uint32_t v = spoiled[i].value == 0 ? LU_STREAM_VERSION_MIN - 1 : LU_STREAM_VERSION + 1;

            e.notes.note.stream_min = v;
            e.notes.note.stream_max = v;
        } else {
            memcpy((uint8_t *)&e + spoiled[i].at, &spoiled[i].value, spoiled[i].size);
        }
        rc = parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault);
        if (rc != spoiled[i].rc || fault.code != spoiled[i].code ||
            strstr(fault.text, spoiled[i].why) == NULL) {
            fail_msg("%s: %d, code %u, %s", spoiled[i].name, rc, fault.code, fault.text);
        }
        assert_int_equal(info.segments, 77);
    }
}

static void test_kimage_parse__no_loadable_segment__is_refused(void **state)
{
    struct elf_image e;
    struct kimage_info info;
    struct kimage_fault fault = {0, ""};

    (void)state;
    elf_image_make(&e);
    for (size_t i = 0; i < 3; i++) {
        e.ph[i].filesz = 0;
        e.ph[i].memsz = 0;
    }
    assert_int_equal(parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault), -ENOEXEC);
    assert_non_null(strstr(fault.text, "no loadable"));
}

static void test_kimage_parse__version_without_terminator__is_refused(void **state)
{
    struct elf_image e;
    struct kimage_info info;
    struct kimage_fault fault = {0, ""};

    (void)state;
    elf_image_make(&e);
    memset(e.notes.note.version, 'v', sizeof(e.notes.note.version));
    assert_int_equal(parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault), -ENOEXEC);
    e.notes.note.version[31] = '\0';
    assert_int_equal(parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault), 0);
    assert_int_equal(strlen(info.version), 31);
}

static void test_kimage_parse__build_ids__as_hex_that_fits(void **state)
{
    static const size_t sizes[] = {0, 1, 16, 20, 23, 24, 60};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        size_t n = sizes[i];
        struct elf_image e;
        struct kimage_info info;
        struct elf64_phdr ph;
        struct kimage_fault fault = {0, ""};
        uint8_t *note;
        int rc;

        elf_image_make(&e);
        ph = e.ph[3];
        note = (uint8_t *)&e + IMAGE_CODE;
        e.notes.gnu.type = 77;
        memcpy(note, &(struct elf_note){4, (uint32_t)n, ELF_NOTE_GNU_BUILD_ID}, 12);
        memcpy(note + 12, "GNU", 4);
        memset(note + 16, 0xab, n);
        ph.offset = IMAGE_CODE;
        ph.filesz = 16 + n;
        e.ph[1] = ph;
        rc = parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault);
        assert_int_equal(rc, n == 0 ? -ENOEXEC : 0);
        if (rc == 0) {
            assert_int_equal(strlen(info.build_id), 2 * MIN(n, 23));
            assert_int_equal(strspn(info.build_id, "ab"), strlen(info.build_id));
        }
    }
}

static void test_kimage_parse__cut_at_each_byte__is_refused(void **state)
{
    struct elf_image e;
    struct kimage_info info;
    struct kimage_fault fault = {0, ""};

    (void)state;
    elf_image_make(&e);
    for (size_t n = 0; n < IMAGE_FILE_BYTES; n++) {
        assert_int_equal(parse_exact(&e, n, &info, &fault), -ENOEXEC);
    }
    assert_int_equal(parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault), 0);
}

static void test_kimage_parse__each_header_byte_changed__reads_nothing_outside(void **state)
{
    static const uint8_t values[] = {0, 1, 4, 5, 0x10, 0x7f, 0x80, 0xff};
    struct elf_image e;
    struct kimage_info info;
    struct kimage_fault fault;

    (void)state;
    elf_image_make(&e);
    for (size_t at = 0; at < IMAGE_CODE; at++) {
        for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
            uint8_t was = ((uint8_t *)&e)[at];

            ((uint8_t *)&e)[at] = values[v];
            (void)!parse_exact(&e, IMAGE_FILE_BYTES, &info, &fault);
            ((uint8_t *)&e)[at] = was;
        }
    }
}

/* ---- placing ---- */

static uint8_t *dest_alloc(size_t pages)
{
    void *p = NULL;

    assert_int_equal(posix_memalign(&p, PAGE_SIZE, pages * PAGE_SIZE), 0);
    memset(p, 0xcc, pages * PAGE_SIZE);
    return p;
}

/* What the ELF file says, byte by byte. */
static uint8_t *expected(const struct elf_image *e)
{
    uint8_t *p = dest_alloc(IMAGE_MEM_PAGES);

    memset(p, 0, IMAGE_MEM_PAGES * PAGE_SIZE);
    for (size_t i = 0; i < 3; i++) {
        memcpy(p + (e->ph[i].paddr - IMAGE_BASE), (const uint8_t *)e + e->ph[i].offset,
               e->ph[i].filesz);
    }
    return p;
}

static void test_kimage_place__direct_and_staged__give_equal_memory(void **state)
{
    struct elf_image e;
    struct kimage_info info;
    struct reloc_list list;
    struct kimage_fault fault = {0, ""};

    (void)state;
    for (unsigned int backwards = 0; backwards < 2; backwards++) {
        uint8_t *want;
        uint8_t *direct = dest_alloc(IMAGE_MEM_PAGES + 1);
        uint8_t *staged = dest_alloc(IMAGE_MEM_PAGES + 1);
        uint8_t *after = dest_alloc(1);

        elf_image_make(&e);
        if (backwards != 0) {
            segments_backwards(&e);
        }
        want = expected(&e);
        assert_int_equal(kimage_parse(&e, IMAGE_FILE_BYTES, &info, &fault), 0);
        assert_int_equal(kimage_place(&info, &e, (uintptr_t)direct, true, NULL), 0);
        assert_int_equal(heap_in_use(), 0);

        reloc_init(&list);
        assert_int_equal(kimage_place(&info, &e, (uintptr_t)staged, false, &list), 0);
        assert_int_equal(reloc_done(&list), 0);
        /* Five pages with bytes of the file; the rest is zeroed without a source page. */
        assert_int_equal(heap_in_use_as(FRAME_IMAGE), 5 + 1);
        /* Until the relocator runs, nothing has moved. */
        assert_memory_equal(staged, after, PAGE_SIZE);
        assert_int_equal(relocate_pages(mfn_to_va(pa_to_mfn(list.head_pa))), 0);

        assert_memory_equal(direct, want, IMAGE_MEM_PAGES * PAGE_SIZE);
        assert_memory_equal(staged, want, IMAGE_MEM_PAGES * PAGE_SIZE);
        assert_memory_equal(direct + IMAGE_MEM_PAGES * PAGE_SIZE, after, PAGE_SIZE);
        assert_memory_equal(staged + IMAGE_MEM_PAGES * PAGE_SIZE, after, PAGE_SIZE);
        reloc_free(&list);
        assert_int_equal(heap_in_use(), 0);
        free(want);
        free(direct);
        free(staged);
        free(after);
    }
}

static void test_kimage_place__each_allocation_fails__leaks_nothing(void **state)
{
    uint8_t *dest = dest_alloc(IMAGE_MEM_PAGES);
    struct elf_image e;
    struct kimage_info info;
    struct kimage_fault fault = {0, ""};
    long n = 0;
    int rc;

    (void)state;
    elf_image_make(&e);
    assert_int_equal(kimage_parse(&e, IMAGE_FILE_BYTES, &info, &fault), 0);
    do {
        struct reloc_list list;

        reloc_init(&list);
        heap_fail_after(n);
        rc = kimage_place(&info, &e, (uintptr_t)dest, false, &list);
        assert_true(rc == 0 || rc == -ENOMEM);
        heap_fail_after(-1);
        reloc_free(&list);
        assert_int_equal(heap_in_use(), 0);
        n++;
    } while (rc != 0);
    assert_int_equal(n, 7);
    free(dest);
}

#define TEST(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_kimage_parse__good_image__gives_its_facts),
        TEST(test_kimage_parse__odd_but_good__is_accepted),
        TEST(test_kimage_parse__spoiled_fields__are_refused),
        TEST(test_kimage_parse__no_loadable_segment__is_refused),
        TEST(test_kimage_parse__version_without_terminator__is_refused),
        TEST(test_kimage_parse__build_ids__as_hex_that_fits),
        TEST(test_kimage_parse__cut_at_each_byte__is_refused),
        TEST(test_kimage_parse__each_header_byte_changed__reads_nothing_outside),
        TEST(test_kimage_place__direct_and_staged__give_equal_memory),
        TEST(test_kimage_place__each_allocation_fails__leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
