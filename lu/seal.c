/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an image vouches for (struct lu_note_seal), and what this molt was told to ask of it:
 * lu_key=, lu_counter=. A word that cannot be read asks for something that no image has.
 *
 * Host test: tests/host/test_seal.c
 */
#include "lu_priv.h"

#include "hv/cmdline.h"
#include "hv/errno.h"
#include "hv/lock.h"
#include "hv/percpu.h"
#include "hv/printk.h"
#include "hv/string.h"
#include "hv/vcpu.h"

/* 10 us on a CPU of today, and a time slice on Bochs: guests that wait for hv_lock do not notice.
 * */
#define SLICE_BYTES KIB(4)

#define BLANK_AT offsetof(struct lu_note_seal, sha256)
#define BLANK_BYTES (sizeof(struct lu_note_seal) - BLANK_AT)
_Static_assert(BLANK_BYTES == SHA256_BYTES + ECDSA_SIGNATURE_BYTES, "hash and signature are last");

/* ---- the hash ---- */

void seal_hash_begin(struct lu_pending *p)
{
    sha256_begin(&p->hash);
    p->hashed = 0;
}

/* The next bytes that are all of the file's, or all blank: at most n. */
static uint64_t add_piece(struct lu_pending *p, uint64_t n)
{
    static const uint8_t blanks[BLANK_BYTES];
    uint64_t blank = p->info.seal_at + BLANK_AT, blank_end = blank + BLANK_BYTES;
    bool inside = p->hashed >= blank && p->hashed < blank_end;
    uint64_t end = p->hashed < blank ? blank : inside ? blank_end : p->bytes;

    n = MIN(n, end - p->hashed);
    sha256_add(&p->hash, inside ? blanks : p->elf + p->hashed, n);
    p->hashed += n;
    return n;
}

bool seal_hash_slice(struct lu_pending *p)
{
    uint64_t n = MIN(p->bytes - p->hashed, SLICE_BYTES);

    while (n > 0) {
        n -= add_piece(p, n);
    }
    return p->hashed == p->bytes;
}

/* ---- what is asked for ---- */

struct policy {
    bool key_given, key_good;
    uint8_t key[ECDSA_KEY_BYTES];
    bool counter_good;
    uint64_t counter;
};

static struct policy read_policy(void)
{
    struct policy p = {.counter_good = true};
    struct str_span v;

    if (cmdline_get(lu.boot.cmdline, "lu_key", &v)) {
        p.key_given = true;
        p.key_good = parse_hex(v, p.key, sizeof(p.key)) == 0 && p.key[0] == 4;
    }
    if (cmdline_get(lu.boot.cmdline, "lu_counter", &v)) {
        p.counter_good = parse_size(v, &p.counter) == 0;
    }
    return p;
}

void lu_report_policy(void)
{
    struct policy p = read_policy();

    if (p.key_given && p.key_good && ecdsa_key_valid(p.key)) {
        printk("lu: images have to be signed by key %02x%02x%02x%02x...", p.key[1], p.key[2],
               p.key[3], p.key[4]);
    } else if (p.key_given) {
        printk("lu: lu_key= is not a public key of P-256: no image will be loaded");
    }
    if (!p.counter_good) {
        printk("lu: lu_counter= is not a number: no image will be loaded");
    } else if (p.counter != 0) {
        printk("lu: images have to have counter %llu or more", (unsigned long long)p.counter);
    }
}

static bool is_signed(const struct kimage_info *info)
{
    for (size_t i = 0; i < sizeof(info->seal.signature); i++) {
        if (info->seal.signature[i] != 0) {
            return true;
        }
    }
    return false;
}

/* Two million cycles in one piece, so other CPUs' guests do not wait for it. What it takes is the
 * caller's own: what is known of the image may be another one's when it returns. */
static bool verify(const struct policy *p, const struct lu_note_seal *seal)
{
    struct percpu *cpu = this_cpu();
    bool good;

    if (cpu->current == NULL && cpu->loaded != NULL) {
        vcpu_unload(cpu->loaded); /* another CPU may take it */
    }
    hv_unlock();
    good = ecdsa_verify(p->key, seal->sha256, seal->signature);
    hv_lock();
    return good;
}

static int check_signature(const struct policy *p, const struct kimage_info *info,
                           struct kimage_fault *fault)
{
    const struct lu_note_seal seal = info->seal;

    fault->code = HC_LU_R_SIGNATURE;
    if (!p->key_given) {
        return 0;
    }
    if (!p->key_good) {
        fault->text = "lu_key= is not a public key: no image is loaded";
        return -ENOEXEC;
    }
    if (!is_signed(info)) {
        fault->text = "image: not signed";
        return -ENOEXEC;
    }
    if (!verify(p, &seal)) {
        fault->text = "image: not signed by the key of lu_key=";
        return -ENOEXEC;
    }
    return 0;
}

static int check_counter(const struct policy *p, const struct kimage_info *info,
                         struct kimage_fault *fault)
{
    fault->code = HC_LU_R_ROLLBACK;
    if (!p->counter_good) {
        fault->text = "lu_counter= is not a number: no image is loaded";
        return -ENOEXEC;
    }
    fault->text = "image: its counter is below lu_counter=";
    return info->seal.counter < p->counter ? -ENOEXEC : 0;
}

int seal_check(struct lu_pending *p, struct kimage_fault *fault)
{
    struct policy policy = read_policy();
    uint8_t hash[SHA256_BYTES];
    int rc;

    sha256_end(&p->hash, hash);
    if (memcmp(hash, p->info.seal.sha256, sizeof(hash)) != 0) {
        *fault = (struct kimage_fault){HC_LU_R_HASH, "image: corrupted: its SHA-256 differs"};
        return -ENOEXEC;
    }
    rc = check_signature(&policy, &p->info, fault);
    if (rc == 0) {
        rc = check_counter(&policy, &p->info, fault);
    }
    return rc != 0 ? rc : seal_features(&p->info, fault);
}

/* ---- what it has to take over ---- */

int seal_features(const struct kimage_info *info, struct kimage_fault *fault)
{
    static const struct {
        uint64_t feature;
        const char *text;
    } missing[] = {
        {LU_FEATURE_VMX, "image: does not take over vCPUs that VMX runs"},
        {LU_FEATURE_SVM, "image: does not take over vCPUs that SVM runs"},
        {LU_FEATURE_VCPUS, "image: does not take over domains with several vCPUs"},
        {LU_FEATURE_STATES, "image: does not take over new or paused domains"},
        {LU_FEATURE_X2APIC, "image: does not take over APICs in x2APIC mode"},
        {LU_FEATURE_CLOCK, "image: does not take over KVM-compatible clocks"},
        {LU_FEATURE_FRESH, "image: does not take over memory that has not been touched"},
    };
    uint64_t lacks = features_in_use() & ~info->seal.features;

    fault->code = HC_LU_R_FEATURE;
    if (cpus_expected > 1 && !(info->flags & LU_NOTE_TAKES_CPUS)) {
        fault->text = "image: does not take over the other CPUs";
        return -EPROTO;
    }
    for (size_t i = 0; i < ARRAY_SIZE(missing); i++) {
        if (lacks & missing[i].feature) {
            fault->text = missing[i].text;
            return -EPROTO;
        }
    }
    BUG_ON(lacks != 0);
    return 0;
}
