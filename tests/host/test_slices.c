/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading and preparing an update in slices: what guests wait for at a time, what changes between
 * two slices, and what other CPUs do while a signature is looked at.
 */
#include "fakes/whole_update.h"

#include <stdio.h>

#include "hv/audit.h"
#include "hv/crypto.h"
#include "hv/lock.h"
#include "hv/memory.h"
#include "hv/modules.h"

#define EXTENTS_MAX 512U /* in a slice */
#define RECORD_MAX 4096U /* in a record: mapped and looked at as a whole, named in slices */

/* ---- what a slice does: by --wrap ---- */

static struct {
    size_t checked, mapped, freed;
} work;

size_t __real_audit_name_extents(const struct lu_extent *e, size_t nr, uint16_t owner);
size_t __wrap_audit_name_extents(const struct lu_extent *e, size_t nr, uint16_t owner);
size_t __wrap_audit_name_extents(const struct lu_extent *e, size_t nr, uint16_t owner)
{
    work.checked += nr;
    return __real_audit_name_extents(e, nr, owner);
}

int __real_vmap_set(void *at, size_t index, mfn_t mfn);
int __wrap_vmap_set(void *at, size_t index, mfn_t mfn);
int __wrap_vmap_set(void *at, size_t index, mfn_t mfn)
{
    work.mapped++;
    return __real_vmap_set(at, index, mfn);
}

void __real_buddy_free(mfn_t mfn, unsigned int order);
void __wrap_buddy_free(mfn_t mfn, unsigned int order);
void __wrap_buddy_free(mfn_t mfn, unsigned int order)
{
    work.freed++;
    __real_buddy_free(mfn, order);
}

static void (*while_unlocked)(void);

void __real_hv_unlock(void);
void __wrap_hv_unlock(void);
void __wrap_hv_unlock(void)
{
    void (*hook)(void) = while_unlocked;

    __real_hv_unlock();
    while_unlocked = NULL;
    if (hook != NULL) {
        hook();
    }
}

bool __wrap_ecdsa_verify(const uint8_t key[ECDSA_KEY_BYTES], const uint8_t hash[SHA256_BYTES],
                         const uint8_t signature[ECDSA_SIGNATURE_BYTES]);
bool __wrap_ecdsa_verify(const uint8_t key[ECDSA_KEY_BYTES], const uint8_t hash[SHA256_BYTES],
                         const uint8_t signature[ECDSA_SIGNATURE_BYTES])
{
    return key[0] == 4 && hash != NULL && signature[0] == 1;
}

/* ---- a world with a fragmented guest ---- */

static struct lu_source source = {.module = LU_MODULE_OTHER};

static struct domain *pages_domain(const char *name, uint16_t id, uint64_t pages)
{
    struct domain *d = domain_create(name, id, false);

    assert_non_null(d);
    domain_memory_init("extent_order=0");
    assert_int_equal(domain_add_memory(d, pages * PAGE_SIZE), 0);
    domain_memory_init("");
    assert_int_equal(d->extents.nr, pages);
    return d;
}

static bool mapped;

static void unmap_identity(void)
{
    if (mapped) {
        fake_machine_unmap_identity(KIB(64), RELOC_END);
    }
    mapped = false;
}

static void build(uint64_t pages)
{
    unmap_identity();
    cold_boot(true);
    fake_machine_map_identity(KIB(64), RELOC_START); /* relocation lists may be there too */
    mapped = true;
    world_sample(true);
    make_elf(1);
    (void)add_sealed("image");
    (void)pages_domain("pages", 20, pages);
    (void)pages_domain("few", 21, 3);
}

/* The rest of the update, which the load has been made for. */
static void update_works(void)
{
    char *facts;

    assert_true(lu.loaded.valid);
    assert_audit_ok();
    lu.attempts++; /* as this attempt counts in the next image */
    facts = world_facts();
    lu.attempts--;
    assert_true(exec(NULL));
    next_image(1, true);
    assert_facts_equal(facts, world_facts());
}

/* ---- how long ---- */

/* Units of work of one slice, or of none. */
static bool slice_is_short(bool (*slice)(void))
{
    size_t length = update_stream() != NULL ? writer.length : 0;
    bool more;

    memset(&work, 0, sizeof(work));
    more = slice();
    assert_true(work.checked <= EXTENTS_MAX);
    assert_true(work.mapped <= RECORD_MAX * sizeof(struct lu_extent) / PAGE_SIZE + 2);
    assert_true(work.freed <= LU_MFN_LIST_ENTRIES + 1);
    assert_true(writer.length - MIN(length, writer.length) <=
                EXTENTS_MAX * sizeof(struct lu_extent) + PAGE_SIZE / 4);
    return more;
}

static bool load_more(void)
{
    int rc = lu_load_slice(&source, why);

    assert_true(rc == 0 || rc == LU_AGAIN);
    return rc == LU_AGAIN;
}

static void test_load_slice__many_extents__each_is_short(void **state)
{
    unsigned int slices = 0;
    size_t checked = 0;

    (void)state;
    build(RECORD_MAX + EXTENTS_MAX + 1);
    while (slice_is_short(load_more)) {
        slices += lu.pending.step == LU_LOAD_PREPARE;
        assert_false(lu.loaded.valid);
        assert_int_equal(lu_request_exec(NULL, why), -ENOENT);
        checked += work.checked;
    }
    assert_true(slices >= 2 * 10); /* of writing and checking */
    assert_true(checked >= RECORD_MAX + EXTENTS_MAX + 1 + 3);
    update_works();
}

/* The account of memory as if nothing were loaded: but for free frames and those of `next`. */
static void account(char text[200], uint64_t *next_and_free)
{
    unsigned long long next, left;
    const char *line;

    fake_log_clear();
    assert_true(memory_account());
    line = strstr(fake_log(), "memory: ");
    assert_non_null(line);
    snprintf(text, 200, "%.*s", (int)(strstr(line, " next=") - line), line);
    assert_int_equal(sscanf(strstr(line, " next="), " next=%llu free=%llu sum ok", &next, &left),
                     2);
    *next_and_free = next + left;
}

static void test_account__while_an_image_is_loaded__as_without_it(void **state)
{
    char before[200], now[200];
    uint64_t sum, sum_now;

    (void)state;
    build(3 * EXTENTS_MAX);
    account(before, &sum);
    for (unsigned int staged = 0; staged < 2; staged++) {
        lu.finish = staged ? LU_FINISH_COMMIT : LU_FINISH_DONE;
        do {
            account(now, &sum_now);
            assert_string_equal(now, before);
            assert_int_equal(sum_now, sum);
        } while (load_more());
        account(now, &sum_now);
        assert_string_equal(now, before);
        assert_int_equal(sum_now, sum);
    }
    lu.finish = LU_FINISH_DONE;
    update_works();
}

/* The one before is forgotten in slices as well. */
static void test_load_slice__again__each_is_short(void **state)
{
    struct world_count before;

    (void)state;
    build(5 * EXTENTS_MAX + 1);
    assert_int_equal(lu_load_module(LU_MODULE_OTHER, why), 0);
    before = world_count();
    do {
        memset(&work, 0, sizeof(work));
    } while (slice_is_short(load_more));
    struct world_count after = world_count();
    assert_true(world_count_equal(&before, &after));
    update_works();
}

/* ---- what changes meanwhile ---- */

static void add_memory(void)
{
    assert_int_equal(domain_add_memory(domain_find(20), MIB(1)), 0);
}

static void begin_to_add(void)
{
    domain_memory_init("extent_order=0");
    assert_int_equal(domain_grow(domain_find(21), MIB(4)), DOMAIN_AGAIN);
    domain_memory_init("");
}

static void give_back(void)
{
    domain_destroy(domain_find(20));
}

static void begin_to_give_back(void)
{
    domain_doom(domain_find(20));
    assert_true(domain_reap());
}

static void add_domain(void)
{
    (void)pages_domain("late", 22, 700);
}

static void look(void)
{
    assert_audit_ok();
}

static void (*const changes[])(void) = {add_memory,         begin_to_add, give_back,
                                        begin_to_give_back, add_domain,   look};

/* After so many slices of a load; false: there were fewer. */
static bool change_after(unsigned int slices, void (*change)(void))
{
    build(2 * EXTENTS_MAX + 100);
    for (unsigned int i = 0; i < slices; i++) {
        if (!load_more()) {
            return false;
        }
    }
    change();
    while (load_more()) {
    }
    domain_settle();
    while (domain_reap()) {
    }
    update_works();
    return true;
}

static void test_load_slice__change_between_any_two__the_stream_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        unsigned int n = 0;

        while (change_after(n, changes[i])) {
            n++;
        }
        assert_true(n > 6);
    }
}

/* Audits take away the marks of the check. */
static void test_load_slice__audit_after_each__checked_anew(void **state)
{
    (void)state;
    build(3 * EXTENTS_MAX);
    while (load_more()) {
        assert_audit_ok();
    }
    update_works();
}

/* Domains change all the time: the load ends, and the update waits until they do not. */
static void test_load_slice__changes_without_end__ends(void **state)
{
    unsigned int slices = 0;

    (void)state;
    build(4 * EXTENTS_MAX);
    while (load_more()) {
        domain_generation++;
        slices++;
        assert_true(slices < 100);
    }
    domain_generation++;
    update_works();
}

static bool work_more(void)
{
    return update_work();
}

static void test_work__changed_since_the_load__prepared_again_before_guests_stop(void **state)
{
    unsigned int slices = 0;

    (void)state;
    build(5 * EXTENTS_MAX + 1);
    assert_int_equal(lu_load_module(LU_MODULE_OTHER, why), 0);
    assert_false(update_work());
    for (size_t i = 0; i < 3; i++) { /* the third time while it goes on */
        domain_generation++;
        if (i == 0) {
            assert_false(update_work()); /* nobody asks for the update */
            assert_int_equal(lu_request_exec(NULL, why), 0);
            let_run();
        }
        for (slices = 0; slice_is_short(work_more) && (i != 1 || slices < 4); slices++) {
            assert_true(is_prepared() || !lu_due());
        }
        assert_true(i == 1 || slices >= 6);
        assert_int_equal(lu_due(), i != 1);
    }
    assert_true(FAKE_ENDS(lu_poll()));
    next_image(1, true);
}

static void change(void)
{
    domain_generation++;
}

/* Nothing does that; if anything did, the stream would be right all the same. */
static void test_poll__changed_while_cpus_stop__prepared_in_the_pause(void **state)
{
    (void)state;
    build(10);
    assert_int_equal(lu_load_module(LU_MODULE_OTHER, why), 0);
    while_unlocked = change;
    update_works();
    assert_null(while_unlocked);
}

/* ---- the signature ---- */

static void want_signature(void)
{
    static char line[400];
    size_t n = (size_t)snprintf(line, sizeof(line), "%s lu_key=04", WORLD_CMDLINE);

    memset(line + n, '1', 2 * (ECDSA_KEY_BYTES - 1));
    lu.boot.cmdline = line;
}

static void build_signed(void)
{
    build(10);
    for (uint8_t id = 2; id < 4; id++) { /* modules 3 and 4 of the world */
        make_elf(id);
        elf_image_seal(&elf);
        elf.notes.seal.signature[0] = id - 1; /* the second one is not good */
        (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    }
    make_elf(2);
    elf_image_seal(&elf);
    want_signature();
    source = (struct lu_source){.module = 3};
}

static void to_the_signature(void)
{
    while (lu.pending.step != LU_LOAD_SEAL) {
        assert_true(load_more());
    }
}

static unsigned int hooked;

/* Would not return if the lock were held. */
static void another_load(void)
{
    const struct lu_source other = {.module = 4};

    hv_lock();
    assert_int_equal(lu_load_slice(&other, why), LU_AGAIN);
    __real_hv_unlock();
    hooked++;
}

static void another_ends(void)
{
    struct lu_source other = {.module = 4};
    int rc;

    hv_lock();
    while ((rc = lu_load_slice(&other, why)) == LU_AGAIN) {
    }
    assert_int_equal(rc, -ENOEXEC);
    __real_hv_unlock();
    hooked++;
}

static void same_load(void)
{
    hv_lock();
    assert_int_equal(lu_load_slice(&source, why), LU_AGAIN);
    assert_int_equal(lu.pending.step, LU_LOAD_PREPARE);
    __real_hv_unlock();
    hooked++;
}

static void test_load_slice__signature__others_do_what_they_like(void **state)
{
    static void (*const others[])(void) = {another_load, another_ends, same_load};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        size_t mapped_before;

        build_signed();
        mapped_before = fake_vmap_mapped();
        to_the_signature();
        while_unlocked = others[i];
        hooked = 0;
        assert_true(load_more());
        assert_int_equal(hooked, 1);
        while (load_more()) {
        }
        assert_true(lu.loaded.valid);
        assert_int_equal(lu.loaded.info.seal.signature[0], 1);
        assert_int_equal(fake_vmap_mapped(), mapped_before);
        assert_audit_ok();
    }
    source = (struct lu_source){.module = LU_MODULE_OTHER};
}

static int clean(void **state)
{
    (void)state;
    unmap_identity();
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_load_slice__many_extents__each_is_short),
        TEST(test_load_slice__audit_after_each__checked_anew),
        TEST(test_account__while_an_image_is_loaded__as_without_it),
        TEST(test_load_slice__again__each_is_short),
        TEST(test_load_slice__change_between_any_two__the_stream_is_right),
        TEST(test_load_slice__changes_without_end__ends),
        TEST(test_work__changed_since_the_load__prepared_again_before_guests_stop),
        TEST(test_poll__changed_while_cpus_stop__prepared_in_the_pause),
        TEST(test_load_slice__signature__others_do_what_they_like),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
