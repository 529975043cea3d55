/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/seal.c and lu/load.c: what refuses an image by its seal, each with its code, and that the
 * hash of a large image is taken in slices. Keys and signatures are openssl's, by tools/seal.
 */
#include "../../lu/lu_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/errno.h"
#include "hv/modules.h"
#include "hv/percpu.h"
#include "hv/seam.h"
#include "hw/apic.h"

static char why[LU_REASON_MAX];
static struct elf_image elf;

/* ---- keys ---- */

#define KEYS 2
static char folder[] = "/tmp/test_seal.XXXXXX";
static char words[KEYS][200]; /* lu_key=... */

static void shell(const char *format, const char *argument, char *out, size_t max)
{
    char command[512];
    FILE *f;
    size_t n;

    snprintf(command, sizeof(command), format, folder, argument, folder, argument);
    f = popen(command, "r");
    assert_non_null(f);
    n = fread(out, 1, max - 1, f);
    out[n] = '\0';
    if (pclose(f) != 0) {
        fail_msg("%s", command);
    }
    if (n > 0 && out[n - 1] == '\n') {
        out[n - 1] = '\0';
    }
}

static int keys_make(void **state)
{
    static const char *const names[KEYS] = {"first", "second"};

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < KEYS; i++) {
        shell("openssl ecparam -name prime256v1 -genkey -noout -out %s/%s.pem", names[i], words[i],
              sizeof(words[i]));
        shell("tools/seal --key %s/%s.pem", names[i], words[i], sizeof(words[i]));
        assert_int_equal(strlen(words[i]), 7 + 2 * ECDSA_KEY_BYTES);
    }
    return 0;
}

static int keys_remove(void **state)
{
    char out[8];

    (void)state;
    shell("rm -r %s", "", out, sizeof(out));
    return 0;
}

/* The image as `make sign` leaves it. */
static void sign(const char *key)
{
    char path[64], out[200];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s.elf", folder, key);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&elf, 1, IMAGE_FILE_BYTES, f), IMAGE_FILE_BYTES);
    assert_int_equal(fclose(f), 0);
    shell("tools/seal --key %s/%s.pem %s/%s.elf", key, out, sizeof(out));
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&elf, 1, IMAGE_FILE_BYTES, f), IMAGE_FILE_BYTES);
    (void)fclose(f);
}

/* ---- loads ---- */

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    lu.finish = LU_FINISH_DONE;
    elf_image_make(&elf);
    elf_image_seal(&elf);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lu.exec_requested = false;
    lu_unload();
    return 0;
}

static void cmdline(const char *text)
{
    static char line[512];

    snprintf(line, sizeof(line), "%s %s", WORLD_CMDLINE, text);
    lu.boot.cmdline = line;
}

static int load(void)
{
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    return lu_load_module(modules_images() - 1, why);
}

static void expect(int rc, uint32_t code, const char *text)
{
    struct world_count before, after;
    struct hc_lu_status s;
    uint64_t refused = lu.refused;
    int got;

    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    before = world_count();
    got = lu_load_module(modules_images() - 1, why);
    lu_get_status(&s);
    if (got != rc || s.code != code || strstr(s.reason, text) == NULL) {
        fail_msg("%d, code %u, %s", got, s.code, s.reason);
    }
    if (rc == 0) {
        assert_int_equal(s.state, HC_LU_LOADED);
        assert_int_equal(lu.refused, refused);
        lu_unload();
    } else {
        assert_int_equal(s.state, HC_LU_IDLE);
        assert_int_equal(lu.refused, refused + 1);
        assert_int_equal(s.last_result, rc);
        after = world_count();
        assert_true(world_count_equal(&before, &after));
    }
}

static void test_load__good_seal__loaded(void **state)
{
    (void)state;
    expect(0, HC_LU_R_NONE, "");
    lu_report_policy();
    assert_false(fake_printed("lu_key") || fake_printed("signed") || fake_printed("counter"));
}

/* Every part of the file: whatever the other checks let through, the hash refuses. */
static void test_load__any_byte_changed__refused(void **state)
{
    unsigned int by_hash = 0;

    (void)state;
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    for (size_t at = 0; at < IMAGE_FILE_BYTES; at += at < IMAGE_CODE ? 1 : 37) {
        uint8_t *bytes = pa_to_va(image_modules->start);

        bytes[at] ^= (uint8_t)(1U << at % 8);
        if (at >= offsetof(struct elf_image, notes.seal.signature) &&
            at < offsetof(struct elf_image, notes.seal.signature) + ECDSA_SIGNATURE_BYTES) {
            assert_int_equal(lu_load_module(0, why), 0); /* nobody asks for a signature */
        } else {
            assert_true(lu_load_module(0, why) < 0);
            by_hash += lu.code == HC_LU_R_HASH ? 1 : 0;
        }
        bytes[at] ^= (uint8_t)(1U << at % 8);
    }
    assert_true(by_hash > 500);
    assert_int_equal(lu_load_module(0, why), 0);
}

static void test_load__cut_or_longer__refused(void **state)
{
    static uint8_t file[IMAGE_FILE_BYTES + 1];

    (void)state;
    memcpy(file, &elf, IMAGE_FILE_BYTES);
    (void)world_add_module("image", file, IMAGE_FILE_BYTES + 1);
    assert_int_equal(lu_load_module(0, why), -ENOEXEC);
    assert_int_equal(lu.code, HC_LU_R_HASH);
}

/* ---- the policy ---- */

static void test_load__key_given__only_what_it_has_signed(void **state)
{
    (void)state;
    cmdline(words[0]);
    expect(-ENOEXEC, HC_LU_R_SIGNATURE, "not signed");
    sign("second");
    expect(-ENOEXEC, HC_LU_R_SIGNATURE, "not signed by the key");
    sign("first");
    expect(0, HC_LU_R_NONE, "");
    cmdline(words[1]);
    expect(-ENOEXEC, HC_LU_R_SIGNATURE, "not signed by the key");
    /* The last word counts, as everywhere. */
    char both[2 * sizeof(words[0])];
    snprintf(both, sizeof(both), "%s %s", words[1], words[0]);
    cmdline(both);
    expect(0, HC_LU_R_NONE, "");
    /* Signed is not enough: the hash is compared first. */
    ((uint8_t *)&elf)[IMAGE_DATA] ^= 1;
    expect(-ENOEXEC, HC_LU_R_HASH, "corrupted");
    elf_image_seal(&elf); /* whoever can do that cannot sign */
    expect(-ENOEXEC, HC_LU_R_SIGNATURE, "not signed");
    cmdline("");
    expect(0, HC_LU_R_NONE, "");
}

static void test_load__each_bit_of_a_signature_changed__refused(void **state)
{
    (void)state;
    sign("first");
    cmdline(words[0]);
    for (size_t bit = 0; bit < 8 * ECDSA_SIGNATURE_BYTES; bit += 11) {
        uint8_t *signature = (uint8_t *)&elf + offsetof(struct elf_image, notes.seal.signature);

        signature[bit / 8] ^= (uint8_t)(1U << bit % 8);
        expect(-ENOEXEC, HC_LU_R_SIGNATURE, "not signed by the key");
        signature[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    expect(0, HC_LU_R_NONE, "");
}

/* Fail closed: a key that cannot be read is not "no key". */
static void test_load__malformed_key__nothing_is_loaded(void **state)
{
    char bad[8][200];

    (void)state;
    sign("first");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        memcpy(bad[i], words[0], sizeof(bad[i]));
    }
    bad[0][strlen(bad[0]) - 1] = '\0'; /* a digit too few */
    strcat(bad[1], "0");
    bad[2][20] = 'g';
    strcpy(bad[3], "lu_key=");
    strcpy(bad[4], "lu_key");
    memcpy(bad[5] + 7, "02", 2);                        /* compressed: not this form */
    memset(bad[6] + 9, '0', 2 * (ECDSA_KEY_BYTES - 1)); /* not on the curve */
    bad[7][100] = bad[7][100] == '0' ? '1' : '0';       /* neither is that */
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cmdline(bad[i]);
        fake_log_clear();
        lu_report_policy();
        assert_true(fake_printed("lu_key= is not a public key of P-256: no image will be loaded"));
        expect(-ENOEXEC, HC_LU_R_SIGNATURE, i < 6 ? "is not a public key" : "not signed by");
    }
    cmdline(words[0]);
    fake_log_clear();
    lu_report_policy();
    assert_true(fake_printed("have to be signed by key"));
    expect(0, HC_LU_R_NONE, "");
}

static void test_load__counters__not_below(void **state)
{
    static const struct {
        const char *word;
        uint64_t counter;
        bool good;
    } rows[] = {
        {"lu_counter=0", 0, true},
        {"lu_counter=1", 0, false},
        {"lu_counter=1", 1, true},
        {"lu_counter=0x10", 15, false},
        {"lu_counter=0x10", UINT64_MAX, true},
        {"lu_counter=18446744073709551615", UINT64_MAX - 1, false},
        {"lu_counter=18446744073709551616", UINT64_MAX, false},
        {"lu_counter=", UINT64_MAX, false},
        {"lu_counter", UINT64_MAX, false},
        {"lu_counter=x", UINT64_MAX, false},
        {"lu_counter=-1", UINT64_MAX, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        elf.notes.seal.counter = rows[i].counter;
        elf_image_seal(&elf);
        cmdline(rows[i].word);
        expect(rows[i].good ? 0 : -ENOEXEC, rows[i].good ? HC_LU_R_NONE : HC_LU_R_ROLLBACK,
               rows[i].good ? "" : "lu_counter=");
    }
    fake_log_clear();
    lu_report_policy();
    assert_true(fake_printed("lu_counter= is not a number: no image will be loaded"));
    cmdline("lu_counter=7");
    lu_report_policy();
    assert_true(fake_printed("counter 7 or more"));
}

/* Corrupted before unsigned, unsigned before old, old before unable, unable before too large. */
static void test_load__several_faults__the_first_is_said(void **state)
{
    struct domain *d = domain_create("d", 1, false);
    struct vcpu_state s;

    (void)state;
    world_random_state(&s);
    (void)world_add_vcpu(d, &s);
    elf.ph[2].memsz = MIB(5);
    elf.notes.seal.features = 0;
    sign("first");
    expect(-EPROTO, HC_LU_R_FEATURE, "VMX");
    cmdline("lu_counter=1");
    expect(-ENOEXEC, HC_LU_R_ROLLBACK, "");
    char line[300];
    snprintf(line, sizeof(line), "lu_counter=1 %s", words[1]);
    cmdline(line);
    expect(-ENOEXEC, HC_LU_R_SIGNATURE, "");
    elf.notes.seal.sha256[5] ^= 1;
    expect(-ENOEXEC, HC_LU_R_HASH, "");
    elf.notes.note.stream_min = elf.notes.note.stream_max = UINT32_MAX;
    expect(-EPROTO, HC_LU_R_STREAM, "");
    elf.notes.seal_head.type = 99;
    expect(-EPROTO, HC_LU_R_STREAM, "");
    elf.notes.note.machine = 3;
    expect(-ENOEXEC, HC_LU_R_MACHINE, "");
    elf.header.magic = 0;
    expect(-ENOEXEC, HC_LU_R_MALFORMED, "");
}

static void test_load__too_large__the_region_that_would_do_is_named(void **state)
{
    uint64_t needed;
    char text[64];

    (void)state;
    elf.ph[2].memsz = MIB(5);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    assert_int_equal(lu_load_module(0, why), -ENOSPC);
    assert_int_equal(lu.code, HC_LU_R_SPACE);
    needed = lu.needed;
    assert_true(needed > MIB(5) + lu_required() && needed < MIB(6) + lu_required());
    snprintf(text, sizeof(text), "liveupdate=%lluM",
             (unsigned long long)(region_size_for(needed) >> 20));
    assert_non_null(strstr(why, text));
    /* One that has it takes the image. */
    lu.region.size = region_size_for(needed);
    assert_int_equal(lu_load_module(0, why), 0);
    assert_int_equal(lu.needed, 0);
}

/* ---- features ---- */

static struct vcpu *guest(void)
{
    struct domain *d = domain_create("guest", 1, true);
    struct vcpu_state s;

    assert_non_null(d);
    world_random_state(&s);
    (void)world_add_vcpu(d, &s);
    d->state = DOMAIN_RUNNING;
    d->vcpus->run_state = VCPU_RUNNABLE;
    d->vcpus->apic.apic_base &= ~(uint64_t)APIC_BASE_EXTD;
    d->vcpus->clock.system_time_msr = 0;
    return d->vcpus;
}

static void test_load__feature_missing__refused_while_it_is_in_use(void **state)
{
    struct vcpu *v = guest();

    (void)state;
    elf.notes.seal.features = LU_FEATURE_VMX;
    elf_image_seal(&elf);
    expect(0, HC_LU_R_NONE, "");
    v->domain->state = DOMAIN_PAUSED;
    expect(-EPROTO, HC_LU_R_FEATURE, "paused");
    v->domain->state = DOMAIN_RUNNING;
    v->apic.apic_base |= APIC_BASE_EXTD;
    expect(-EPROTO, HC_LU_R_FEATURE, "x2APIC");
    v->apic.apic_base &= ~(uint64_t)APIC_BASE_EXTD;
    v->clock.system_time_msr = 1;
    expect(-EPROTO, HC_LU_R_FEATURE, "clock");
    v->clock.system_time_msr = 0;
    expect(0, HC_LU_R_NONE, "");
    cpus_expected = 2;
    expect(-EPROTO, HC_LU_R_FEATURE, "other CPUs");
    cpus_expected = 1;
    elf.notes.seal.features = ~(uint64_t)LU_FEATURE_VMX;
    elf_image_seal(&elf);
    expect(-EPROTO, HC_LU_R_FEATURE, "VMX");
}

/* What came into use after the load: the request is refused, or the update before its pause. */
static void test_exec__feature_in_use_since_the_load__refused_before_the_pause(void **state)
{
    struct vcpu *v = guest();
    uint64_t refused;

    (void)state;
    elf.notes.seal.features = LU_FEATURE_VMX;
    elf_image_seal(&elf);
    assert_int_equal(load(), 0);
    refused = lu.refused;
    v->clock.system_time_msr = 1;
    assert_int_equal(lu_request_exec(v, why), -EPROTO);
    assert_int_equal(lu.code, HC_LU_R_FEATURE);
    assert_false(lu_requested());
    v->clock.system_time_msr = 0;
    assert_int_equal(lu_request_exec(v, why), 0);
    v->apic.apic_base |= APIC_BASE_EXTD;
    fake_cpu.last_exit_tsc = tsc_read();
    v->gpr[GPR_RAX] = 0;
    assert_true(lu_due());
    assert_false(FAKE_ENDS(lu_poll()));
    assert_int_equal((int64_t)v->gpr[GPR_RAX], -EPROTO);
    assert_int_equal(v->run_state, VCPU_RUNNABLE);
    assert_int_equal(lu.attempts, 0);
    assert_int_equal(lu.refused, refused + 2);
    assert_int_equal(lu.code, HC_LU_R_FEATURE);
    assert_false(lu_requested());
    assert_true(lu.loaded.valid); /* for when the guest has gone back to xAPIC mode */
    v->apic.apic_base &= ~(uint64_t)APIC_BASE_EXTD;
    assert_int_equal(lu_request_exec(v, why), 0);
    fake_cpu.last_exit_tsc = tsc_read();
    assert_true(FAKE_ENDS(lu_poll()));
}

/* ---- slices ---- */

#define LARGE KIB(100)
#define LIST_GPA KIB(4)
#define IMAGE_GPA KIB(64)

/* A large image in a domain's memory: behind the ELF file there may be anything. */
static struct lu_source large_source(struct domain *d)
{
    static uint8_t file[LARGE];
    struct sha256 s;
    uint64_t gfn;

    memcpy(file, &elf, IMAGE_FILE_BYTES);
    for (size_t i = IMAGE_FILE_BYTES; i < LARGE; i++) {
        file[i] = (uint8_t)(i * 7 + i / 256);
    }
    memset(file + offsetof(struct elf_image, notes.seal.sha256), 0, SHA256_BYTES);
    sha256_begin(&s);
    sha256_add(&s, file, LARGE);
    sha256_end(&s, file + offsetof(struct elf_image, notes.seal.sha256));
    assert_int_equal(domain_write(d, IMAGE_GPA, file, LARGE), 0);
    for (uint64_t i = 0; i < LARGE / PAGE_SIZE; i++) {
        gfn = IMAGE_GPA / PAGE_SIZE + i;
        assert_int_equal(domain_write(d, LIST_GPA + 8 * i, &gfn, 8), 0);
    }
    return (struct lu_source){
        .domain = d, .list_gpa = LIST_GPA, .pages = LARGE / PAGE_SIZE, .bytes = LARGE};
}

static struct domain *owner(uint16_t id, const char *name)
{
    struct domain *d = domain_create(name, id, true);
    struct vcpu_state s;

    assert_non_null(d);
    assert_int_equal(domain_add_memory(d, MIB(1)), 0);
    world_random_state(&s);
    (void)world_add_vcpu(d, &s);
    return d;
}

static void test_load_slice__large_image__several_slices(void **state)
{
    struct domain *d = owner(1, "owner");
    struct lu_source source = large_source(d);
    unsigned int slices = 0;
    uint64_t hashed = 0;
    uint8_t byte = 0;
    int rc;

    (void)state;
    while ((rc = lu_load_slice(&source, why)) == LU_AGAIN) {
        slices += lu.pending.step == LU_LOAD_HASH;
        assert_true(lu.pending.hashed <= hashed + KIB(4));
        hashed = lu.pending.hashed;
        fake_this->loaded = NULL;
        assert_false(lu.loaded.valid);
        assert_int_equal(lu_request_exec(NULL, why), -ENOENT); /* nothing is loaded yet */
        assert_int_equal(domain_write(d, IMAGE_GPA + 9000, &byte, 1), 0); /* too late */
    }
    assert_int_equal(rc, 0);
    assert_int_equal(slices, (LARGE + KIB(4) - 1) / KIB(4)); /* and others after that */
    assert_true(lu.loaded.valid);
    assert_int_equal(fake_vmap_mapped(), 0);
    /* What was changed is seen by the next load. */
    while ((rc = lu_load_slice(&source, why)) == LU_AGAIN) {
    }
    assert_int_equal(rc, -ENOEXEC);
    assert_int_equal(lu.code, HC_LU_R_HASH);
    assert_int_equal(fake_vmap_mapped(), 0);
}

/* Calls that mix: each begins anew, nothing of one gets into another, nothing is lost. */
static void test_load_slice__another_begins__the_first_is_forgotten(void **state)
{
    struct domain *a = owner(1, "a"), *b = owner(2, "b");
    struct lu_source first = large_source(a), second = large_source(b);
    uint8_t byte = 0;

    (void)state;
    assert_int_equal(domain_write(b, IMAGE_GPA + LARGE - 1, &byte, 1), 0); /* is spoiled */
    for (unsigned int i = 0; i < 5; i++) {
        assert_int_equal(lu_load_slice(&first, why), LU_AGAIN);
        assert_int_equal(lu_load_slice(&first, why), LU_AGAIN);
        assert_int_equal(lu_load_slice(&second, why), LU_AGAIN);
    }
    for (uint64_t done = 0; done < LARGE; done += KIB(4)) {
        assert_int_equal(lu_load_slice(&second, why), LU_AGAIN);
    }
    assert_int_equal(lu_load_slice(&second, why), -ENOEXEC);
    assert_int_equal(lu.code, HC_LU_R_HASH);
    assert_int_equal(lu_load_slice(&first, why), LU_AGAIN);
    assert_int_equal(lu_load_slice(&first, why), LU_AGAIN);
    assert_int_equal(lu.pending.hashed, KIB(4));
    first.bytes--;
    assert_int_equal(lu_load_slice(&first, why), LU_AGAIN); /* other arguments, another load */
    assert_int_equal(lu.pending.hashed, 0);
    assert_int_equal(load(), 0);
    assert_int_equal(fake_vmap_mapped(), 0);
    /* A domain that goes takes its load along. */
    first.bytes++;
    assert_int_equal(lu_load_slice(&first, why), LU_AGAIN);
    assert_true(fake_vmap_mapped() != 0);
    domain_destroy(a);
    assert_int_equal(fake_vmap_mapped(), 0);
    assert_false(lu.pending.valid);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_load__good_seal__loaded),
        TEST(test_load__any_byte_changed__refused),
        TEST(test_load__cut_or_longer__refused),
        TEST(test_load__key_given__only_what_it_has_signed),
        TEST(test_load__each_bit_of_a_signature_changed__refused),
        TEST(test_load__malformed_key__nothing_is_loaded),
        TEST(test_load__counters__not_below),
        TEST(test_load__several_faults__the_first_is_said),
        TEST(test_load__too_large__the_region_that_would_do_is_named),
        TEST(test_load__feature_missing__refused_while_it_is_in_use),
        TEST(test_exec__feature_in_use_since_the_load__refused_before_the_pause),
        TEST(test_load_slice__large_image__several_slices),
        TEST(test_load_slice__another_begins__the_first_is_forgotten),
    };

    return cmocka_run_group_tests(tests, keys_make, keys_remove);
}
