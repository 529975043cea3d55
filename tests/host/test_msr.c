/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/CPU.md and the code agree: its tables of MSRs and CPUID leaves are read and tried, row by
 * row; what is not in them is not there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/domain.h"
#include "hv/exit.h"
#include "hw/x86.h"
#include "public/lu_abi.h"

#define DOCUMENT "docs/CPU.md"
#define ROWS_MAX 100U
#define CELL 32U
#define CELLS 7U /* of an MSR's row: number, name, kind, read, write, RESET, INIT */

enum { NUMBER, NAME, KIND, READ, WRITE, AT_RESET, AT_INIT };

struct row {
    char cell[CELLS][CELL];
    uint32_t first, last;
};

static struct row msrs[ROWS_MAX], leaves[ROWS_MAX];
static size_t nr_msrs, nr_leaves;
static struct domain *d;
static struct vcpu *v;

/* The next "| text " of a row; longer text is cut. */
static char *next_cell(char *at, char cell[CELL])
{
    size_t n = 0;

    at = strchr(at, '|');
    if (at == NULL) {
        return NULL;
    }
    for (at++; *at == ' '; at++) {
    }
    while (*at != '|' && *at != '\n' && *at != '\0') {
        if (n < CELL - 1) {
            cell[n++] = *at;
        }
        at++;
    }
    while (n > 0 && cell[n - 1] == ' ') {
        n--;
    }
    cell[n] = '\0';
    return at;
}

/* Rows whose first cell is a number or a range of them. */
static size_t read_table(FILE *file, const char *heading, size_t cells, struct row *rows)
{
    bool inside = false;
    char line[1000];
    size_t nr = 0;

    rewind(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        struct row *r = &rows[nr];
        char *at = line, *end;

        if (strncmp(line, "## ", 3) == 0) {
            inside = strcmp(line + 3, heading) == 0;
        }
        if (!inside || strncmp(line, "| 0x", 4) != 0) {
            continue;
        }
        assert_true(nr < ROWS_MAX);
        for (size_t i = 0; i < cells; i++) {
            at = next_cell(at, r->cell[i]);
            assert_non_null(at);
        }
        r->first = r->last = (uint32_t)strtoul(r->cell[NUMBER], &end, 16);
        if (*end == '-') {
            r->last = (uint32_t)strtoul(end + 1, &end, 16);
        }
        assert_int_equal(*end, '\0');
        nr++;
    }
    return nr;
}

static int read_document(void **state)
{
    FILE *file = fopen(DOCUMENT, "r");

    (void)state;
    if (file == NULL) {
        fprintf(stderr, "%s: run from the top of the tree\n", DOCUMENT);
        return -1;
    }
    nr_msrs = read_table(file, "MSRs\n", CELLS, msrs);
    nr_leaves = read_table(file, "CPUID\n", 2, leaves);
    fclose(file);
    return nr_msrs != 0 && nr_leaves != 0 ? 0 : -1;
}

static int setup(void **state)
{
    struct vcpu_state reset;

    (void)state;
    world_reset();
    static struct hvm_ops svm;

    world_boot(0, true);
    svm = *hvm; /* the document has what SVM's guests see besides */
    svm.feature = LU_FEATURE_SVM;
    hvm = &svm;
    d = domain_create("guest", 1, true);
    assert_int_equal(domain_add_memory(d, MIB(5)), 0);
    vcpu_state_reset(&reset);
    assert_int_equal(vcpu_create(d, 0, &reset, &v), 0);
    return 0;
}

static bool is(const struct row *r, unsigned int cell, const char *text)
{
    return strcmp(r->cell[cell], text) == 0;
}

static const struct row *find(uint32_t index)
{
    for (size_t i = 0; i < nr_msrs; i++) {
        if (index >= msrs[i].first && index <= msrs[i].last) {
            return &msrs[i];
        }
    }
    return NULL;
}

static bool is_own(uint32_t index)
{
    for (size_t i = 0; i < GUEST_OWN_MSRS; i++) {
        if (guest_own_msrs[i] == index) {
            return true;
        }
    }
    return index == MSR_TSC_AUX;
}

static void x2apic_on(void)
{
    assert_int_equal(guest_wrmsr(v, MSR_APIC_BASE, 0xfee00d00), 0);
}

static void test_document__cells__say_something_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < nr_msrs; i++) {
        const struct row *r = &msrs[i];

        if ((!is(r, KIND, "own") && !is(r, KIND, "exit") && !is(r, KIND, "x2APIC")) ||
            (!is(r, READ, "yes") && !is(r, READ, "#GP")) ||
            (!is(r, WRITE, "any") && !is(r, WRITE, "ignored") && !is(r, WRITE, "0") &&
             !is(r, WRITE, "#GP")) ||
            (!is(r, AT_INIT, "kept") && !is(r, AT_INIT, "reset") && !is(r, AT_INIT, "-"))) {
            fail_msg("%s", r->cell[NAME]);
        }
        assert_true(i == 0 || msrs[i - 1].last < r->first); /* sorted, so none twice */
    }
}

static void test_document__own_msrs__are_the_codes(void **state)
{
    unsigned int own = 0;

    (void)state;
    for (size_t i = 0; i < nr_msrs; i++) {
        assert_int_equal(is(&msrs[i], KIND, "own"), is_own(msrs[i].first));
        own += is(&msrs[i], KIND, "own");
    }
    assert_int_equal(own, GUEST_OWN_MSRS + 1);
}

static void check_write(const struct row *r, uint32_t index)
{
    uint64_t before = 0, after = 0;

    if (is(r, WRITE, "#GP")) {
        assert_int_equal(guest_wrmsr(v, index, 0), -EINVAL);
        assert_int_equal(guest_wrmsr(v, index, 1), -EINVAL);
    } else if (is(r, WRITE, "0")) {
        assert_int_equal(guest_wrmsr(v, index, 0), 0);
        assert_int_equal(guest_wrmsr(v, index, 1), -EINVAL);
    } else if (is(r, WRITE, "ignored")) {
        assert_int_equal(guest_rdmsr(v, index, &before), 0);
        assert_int_equal(guest_wrmsr(v, index, UINT64_MAX), 0);
        assert_int_equal(guest_rdmsr(v, index, &after), 0);
        assert_int_equal(before, after);
    } else { /* what was there may be written */
        if (is(r, READ, "yes")) {
            assert_int_equal(guest_rdmsr(v, index, &before), 0);
        }
        assert_int_equal(guest_wrmsr(v, index, before), 0);
    }
}

static void test_document__each_msr__does_what_it_says(void **state)
{
    for (size_t i = 0; i < nr_msrs; i++) {
        const struct row *r = &msrs[i];

        for (uint32_t index = r->first; index <= r->last; index++) {
            uint64_t value = 0;
            char *end;

            setup(state);
            if (is(r, KIND, "own")) {
                continue;
            }
            if (is(r, KIND, "x2APIC")) {
                assert_int_equal(guest_rdmsr(v, index, &value), -EINVAL);
                assert_int_equal(guest_wrmsr(v, index, 0), -EINVAL);
                x2apic_on();
            }
            assert_int_equal(guest_rdmsr(v, index, &value), is(r, READ, "yes") ? 0 : -EINVAL);
            if (!is(r, AT_RESET, "-")) {
                uint64_t wanted = strtoull(r->cell[AT_RESET], &end, 0);

                assert_int_equal(*end, '\0');
                if (value != wanted) {
                    fail_msg("%s: 0x%llx", r->cell[NAME], (unsigned long long)value);
                }
            }
            check_write(r, index);
        }
    }
}

/* Another value than after RESET, where the guest can have one. */
static uint64_t other_value(uint32_t index)
{
    switch (index) {
    case MSR_TSC:
        return UINT64_C(1) << 60;
    case MSR_APIC_BASE:
        return 0xfed00d00;
    case MSR_PAT:
        return 0x0606060606060606;
    case 0x4b564d00:
    case 0x4b564d01:
        return 0x1000;
    case MSR_EFER:
        return EFER_SCE;
    case 0x80f:
        return 0x155;
    case 0x83e:
        return 0xb;
    default: /* vectors, priorities, counts, a deadline far away */
        return index == 0x6e0 ? UINT64_C(1) << 62 : 0x55;
    }
}

static void init_signal(void)
{
    struct vcpu_state s;

    vcpu_get_state(v, &s);
    vcpu_state_init(&s);
    vlapic_init_signal(&v->apic);
    assert_int_equal(vcpu_set_state(v, &s), 0);
}

static void test_document__each_msr__after_init(void **state)
{
    unsigned int changed = 0;

    for (size_t i = 0; i < nr_msrs; i++) {
        const struct row *r = &msrs[i];
        uint64_t value = 0, wanted;

        if (is(r, KIND, "own") || !is(r, READ, "yes") || is(r, AT_INIT, "-")) {
            continue; /* test_vcpu_state has the first */
        }
        setup(state);
        if (is(r, KIND, "x2APIC")) {
            x2apic_on();
        }
        if (r->first == 0x6e0) { /* the mode that has deadlines */
            assert_int_equal(guest_wrmsr(v, MSR_APIC_BASE, 0xfee00d00), 0);
            assert_int_equal(guest_wrmsr(v, 0x80f, 0x1ff), 0);
            assert_int_equal(guest_wrmsr(v, 0x832, 0x40040), 0);
        }
        if (is(r, WRITE, "any")) {
            assert_int_equal(guest_wrmsr(v, r->first, other_value(r->first)), 0);
            changed++;
        }
        assert_int_equal(guest_rdmsr(v, r->first, &wanted), 0);
        if (is(r, AT_INIT, "reset")) {
            wanted = strtoull(r->cell[AT_RESET], NULL, 0);
        }
        init_signal();
        if (r->first == 0x6e0) {
            assert_int_equal(guest_wrmsr(v, 0x832, 0x40040), 0);
        }
        assert_int_equal(guest_rdmsr(v, r->first, &value), 0);
        if (r->first == MSR_TSC ? value - wanted > 1000000 : value != wanted) {
            fail_msg("%s after INIT: 0x%llx", r->cell[NAME], (unsigned long long)value);
        }
    }
    assert_true(changed > 10);
}

static void must_not_be_there(uint32_t index)
{
    static const uint64_t values[] = {0, 1, UINT64_MAX, 0x1000};
    uint64_t value = 0x1234;

    if (guest_rdmsr(v, index, &value) != -EINVAL || value != 0x1234) {
        fail_msg("MSR 0x%x can be read", index);
    }
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        if (guest_wrmsr(v, index, values[i]) != -EINVAL) {
            fail_msg("MSR 0x%x can be written", index);
        }
    }
}

/* Both bitmaps' ranges whole, AMD's, the hypervisors', and any others; in both modes. */
static void test_msrs__not_in_the_document__gp(void **state)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0, 0x1fff},
                  {0x40000000, 0x400001ff},
                  {0x4b564c00, 0x4b564eff},
                  {0xc0000000, 0xc0001fff},
                  {0xc0010000, 0xc0011fff},
                  {0xfffff000, 0xffffffff}};

    for (unsigned int x2 = 0; x2 < 2; x2++) {
        setup(state);
        if (x2) {
            x2apic_on();
        }
        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
            for (uint64_t n = ranges[i].first; n <= ranges[i].last; n++) {
                const struct row *r = find((uint32_t)n);

                /* an own one does not exit, so whatever would be said here is of no effect */
                if (r == NULL || is(r, KIND, "own") || (!x2 && is(r, KIND, "x2APIC"))) {
                    must_not_be_there((uint32_t)n);
                }
            }
        }
        uint64_t random = 1;
        for (unsigned int i = 0; i < 200000; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            if (find((uint32_t)(random >> 32)) == NULL) {
                must_not_be_there((uint32_t)(random >> 32));
            }
        }
    }
}

static bool documented(uint32_t leaf)
{
    for (size_t i = 0; i < nr_leaves; i++) {
        if (leaves[i].first == leaf) {
            return true;
        }
    }
    return false;
}

/* On a host that answers everything with ones. */
static void test_cpuid__leaves__those_of_the_document_and_no_others(void **state)
{
    static const uint32_t bases[] = {0, 0x40000000, 0x80000000, 0xc0000000, 0x20000000};

    (void)state;
    fake_seam_reset();
    fake_cpuid_default((struct cpuid_values){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX});
    for (size_t b = 0; b < ARRAY_SIZE(bases); b++) {
        for (uint32_t leaf = bases[b]; leaf < bases[b] + 0x300; leaf++) {
            struct cpuid_values c = guest_cpuid(v, leaf, 0);

            if (documented(leaf) != ((c.eax | c.ebx | c.ecx | c.edx) != 0)) {
                fail_msg("leaf 0x%x", leaf);
            }
        }
    }
}

/* Names of the document, bits of the manuals. */
struct feature {
    const char *name;
    unsigned int bit;
};

static const struct feature ecx_1[] = {
    {"SSE3", 0},         {"PCLMULQDQ", 1},       {"SSSE3", 9},   {"FMA", 12},   {"CMPXCHG16B", 13},
    {"PCID", 17},        {"SSE4.1", 19},         {"SSE4.2", 20}, {"x2APIC", 21}, {"MOVBE", 22},
    {"POPCNT", 23},      {"TSC deadline", 24},   {"AES", 25},    {"XSAVE", 26}, {"OSXSAVE", 27},
    {"AVX", 28},         {"F16C", 29},           {"RDRAND", 30}, {"hypervisor present", 31},
};
static const struct feature edx_1[] = {
    {"FPU", 0},  {"VME", 1},    {"DE", 2},    {"PSE", 3},   {"TSC", 4},   {"MSR", 5},
    {"PAE", 6},  {"CX8", 8},    {"APIC", 9},  {"SEP", 11},  {"PGE", 13},  {"CMOV", 15},
    {"PAT", 16}, {"PSE-36", 17}, {"CLFSH", 19}, {"MMX", 23}, {"FXSR", 24}, {"SSE", 25},
    {"SSE2", 26}, {"SS", 27},
};
static const struct feature ebx_7[] = {
    {"FSGSBASE", 0}, {"BMI1", 3},  {"AVX2", 5},     {"SMEP", 7},  {"BMI2", 8},        {"ERMS", 9},
    {"INVPCID", 10}, {"AVX512F", 16}, {"DQ", 17},   {"RDSEED", 18}, {"ADX", 19},      {"SMAP", 20},
    {"IFMA", 21},    {"CLFLUSHOPT", 23}, {"CLWB", 24}, {"CD", 28}, {"SHA", 29},       {"BW", 30},
    {"VL", 31},
};
static const struct feature ecx_7[] = {{"VBMI", 1},        {"UMIP", 2},  {"VAES", 9},
                                       {"VPCLMULQDQ", 10}, {"VNNI", 11}, {"BITALG", 12},
                                       {"VPOPCNTDQ", 14}};
static const struct feature ecx_81[] = {{"LAHF", 0}, {"LZCNT", 5}, {"PREFETCHW", 8}};
static const struct feature edx_81[] = {
    {"SYSCALL", 11}, {"NX", 20}, {"1 GiB pages", 26}, {"RDTSCP", 27}, {"long mode", 29}};

/* Bits whose names stand in a row, between commas, colons and semicolons. */
static uint32_t named_bits(const char *row, const struct feature *features, size_t nr)
{
    uint32_t bits = 0;

    for (const char *at = strchr(row + 1, '|'); at != NULL; at = strpbrk(at, ",:;")) {
        at += strspn(at, "|,:; ");
        for (size_t i = 0; i < nr; i++) {
            size_t n = strlen(features[i].name);

            if (strncmp(at, features[i].name, n) == 0 && strchr(",:; ", at[n]) != NULL) {
                bits |= 1U << features[i].bit;
            }
        }
    }
    return bits;
}

/* On a host that has everything: the bits that are named, and no other one. */
static void test_cpuid__feature_bits__those_of_the_document(void **state)
{
    struct cpuid_values c[3];
    const struct {
        const char *row;
        const uint32_t *reg;
        const struct feature *features;
        size_t nr;
    } rows[] = {
        {"| ECX of 1 |", &c[0].ecx, ecx_1, ARRAY_SIZE(ecx_1)},
        {"| EDX of 1 |", &c[0].edx, edx_1, ARRAY_SIZE(edx_1)},
        {"| EBX of 7 |", &c[1].ebx, ebx_7, ARRAY_SIZE(ebx_7)},
        {"| ECX of 7 |", &c[1].ecx, ecx_7, ARRAY_SIZE(ecx_7)},
        {"| ECX of 0x80000001 |", &c[2].ecx, ecx_81, ARRAY_SIZE(ecx_81)},
        {"| EDX of 0x80000001 |", &c[2].edx, edx_81, ARRAY_SIZE(edx_81)},
    };
    FILE *file = fopen(DOCUMENT, "r");
    unsigned int found = 0;
    char line[1000];

    (void)state;
    assert_non_null(file);
    fake_seam_reset();
    fake_cpuid_default((struct cpuid_values){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX});
    fake_xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512;
    fake_hvm_state(v)->cr4 = CR4_OSXSAVE;
    c[0] = guest_cpuid(v, 1, 0);
    c[1] = guest_cpuid(v, 7, 0);
    c[2] = guest_cpuid(v, 0x80000001, 0);
    while (fgets(line, sizeof(line), file) != NULL) {
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            if (strncmp(line, rows[i].row, strlen(rows[i].row)) == 0) {
                uint32_t named = named_bits(line, rows[i].features, rows[i].nr);

                if (named != *rows[i].reg) {
                    fail_msg("%s: 0x%x is shown, 0x%x is said", rows[i].row, *rows[i].reg, named);
                }
                found++;
            }
        }
    }
    fclose(file);
    assert_int_equal(found, ARRAY_SIZE(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document__cells__say_something_known),
        cmocka_unit_test(test_document__own_msrs__are_the_codes),
        cmocka_unit_test(test_document__each_msr__does_what_it_says),
        cmocka_unit_test(test_document__each_msr__after_init),
        cmocka_unit_test(test_msrs__not_in_the_document__gp),
        cmocka_unit_test_setup(test_cpuid__leaves__those_of_the_document_and_no_others, setup),
        cmocka_unit_test_setup(test_cpuid__feature_bits__those_of_the_document, setup),
    };

    return cmocka_run_group_tests(tests, read_document, NULL);
}
