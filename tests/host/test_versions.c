/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions of the stream: what each of them has, who reads which, and the records that came with
 * version 2.
 */
#include "../../lu/lu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/stream_copy.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/hvm.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/percpu.h"

#define RECORDER_BYTES KIB(64)
#define RECORDER_PA (WORLD_HIGH_END - 2 * RECORDER_BYTES) /* where the sample has nothing */

typedef struct stream_copy copy_t;

/* The sample's stream of a version; the world stands where the next image checks it. */
static copy_t good;

static copy_t take_apart(const uint8_t *stream, size_t length)
{
    struct stream_reader reader;
    const char *why = "";
    copy_t c;

    if (stream_open(&reader, stream, length, &why) != 0) {
        fail_msg("%s", why);
    }
    copy_take(&c, &reader);
    return c;
}

static copy_t written(uint32_t version)
{
    size_t length;
    copy_t c;

    fake_stream_newest = version;
    uint8_t *stream = world_stream(&length);
    fake_stream_newest = LU_STREAM_VERSION;
    c = take_apart(stream, length);
    free(stream);
    assert_int_equal(c.version, version);
    return c;
}

static void add_recorder(copy_t *c, size_t at)
{
    struct lu_rec_recorder rec = {RECORDER_PA, RECORDER_BYTES};

    copy_insert(c, at, LU_REC_RECORDER, &rec, sizeof(rec));
}

static void add_digest(copy_t *c, uint16_t domain)
{
    struct lu_rec_digest rec = {.domain = domain};

    copy_insert(c, c->nr, LU_REC_DIGEST, &rec, sizeof(rec));
}

/* Who stopped is for people: anybody may be in it. */
static void add_stops(copy_t *c)
{
    const struct lu_stop stops[] = {{LU_STOP_CPU, 9, 8, 7}, {4711, 9, 8, 7}};

    copy_insert(c, c->nr, LU_REC_STOPS, stops, sizeof(stops));
}

#define FRESH_RUNS 3U

static void add_fresh(copy_t *c, uint16_t domain)
{
    struct {
        struct lu_rec_fresh rec;
        struct lu_fresh_run runs[FRESH_RUNS];
    } fresh = {{.domain = domain}, {{512, 1024}, {1536, 512}, {5120, 512}}};

    copy_insert(c, c->nr, LU_REC_FRESH, &fresh, sizeof(fresh));
}

static void take_good(uint32_t version)
{
    world_reset();
    world_boot(0, true);
    world_sample(false);
    good = written(version);
    world_boot_closed(1, true);
}

static int setup(void **state)
{
    (void)state;
    take_good(2);
    add_recorder(&good, copy_find(&good, LU_REC_CPUS, 0));
    add_digest(&good, 1);
    add_stops(&good);
    add_fresh(&good, 1);
    return 0;
}

static int setup_v1(void **state)
{
    (void)state;
    take_good(1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    copy_free(&good);
    return 0;
}

static int check(const copy_t *c, const char **why)
{
    struct stream_reader reader;
    size_t length;
    uint8_t *stream = copy_build(c, &length);
    int rc = stream_open(&reader, stream, length, why);

    if (rc == 0) {
        rc = restore_check(&reader, &adopt_keeper, why);
    }
    free(stream);
    return rc;
}

static void assert_refused(const copy_t *c, int want, const char *text, const char *name)
{
    struct world_count before = world_count(), after;
    const char *why = "none";
    int rc = check(c, &why);

    after = world_count();
    if (rc != want || strncmp(why, text, strlen(text)) != 0) {
        fail_msg("%s: %d \"%s\" instead of %d \"%s\"", name, rc, why, want, text);
    }
    if (!world_count_equal(&before, &after) || domain_list != NULL || image_modules != NULL) {
        fail_msg("%s: refused, and something has changed", name);
    }
}

static void assert_accepted(const copy_t *c)
{
    const char *why = "";

    if (check(c, &why) != 0) {
        fail_msg("%s", why);
    }
}

static size_t count(const copy_t *c, uint32_t type)
{
    size_t n = 0;

    for (size_t i = 0; i < c->nr; i++) {
        n += c->records[i].type == type;
    }
    return n;
}

/* ---- writing ---- */

static void test_save__each_version__has_its_records(void **state)
{
    (void)state;
    world_reset();
    for (uint32_t version = 1; version <= 2; version++) {
        world_boot(0, true);
        world_sample(true);
        copy_t c = written(version);
        assert_int_equal(count(&c, LU_REC_CPUS), version == 2 ? 1 : 0);
        assert_int_equal(count(&c, LU_REC_HOST_STATE), 1);
        if (version == 1) {
            assert_int_equal(count(&c, LU_REC_RECORDER) + count(&c, LU_REC_DIGEST), 0);
        }
        copy_free(&c);
    }
}

static void test_save__cpus__the_machine_and_what_is_used(void **state)
{
    (void)state;
    world_reset();
    for (int virtualization = 0; virtualization < 2; virtualization++) {
        world_boot(0, virtualization != 0);
        world_sample(false);
        nr_cpus = 5;
        cpus_expected = 5;
        copy_t c = written(2);
        const struct lu_rec_cpus *rec = copy_at(&c, LU_REC_CPUS, 0);
        assert_int_equal(rec->cpus, 5);
        assert_int_equal(rec->flags, virtualization ? LU_CPUS_VIRTUALIZED : 0);
        assert_int_equal(rec->features, LU_FEATURE_VCPUS | LU_FEATURE_STATES |
                                            (virtualization ? LU_FEATURE_VMX : 0));
        copy_free(&c);
    }
}

/* The same facts under the next image, whichever version carries them, to and fro. */
static void test_save__facts_through_both_versions__the_same(void **state)
{
    static const uint32_t versions[] = {2, 1, 1, 2, 2, 1, 2};

    (void)state;
    world_reset();
    world_boot(0, true);
    world_sample(false);
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct stream_reader reader;
        const char *why = "";
        size_t length;
        char *before = world_facts();

        fake_stream_newest = versions[i];
        uint8_t *stream = world_stream(&length);
        fake_stream_newest = versions[i] == 1 && i % 2 == 0 ? 1 : 2; /* who reads it */
        world_boot_closed(i % 2 == 0, true);
        if (stream_open(&reader, stream, length, &why) != 0 ||
            restore_check(&reader, &adopt_keeper, &why) != 0) {
            fail_msg("%zu: %s", i, why);
        }
        restore_host(&reader);
        assert_int_equal(lu.from_stream_version, versions[i]);
        if (restore_apply(&reader, &why) != 0) {
            fail_msg("%zu: %s", i, why);
        }
        free(stream);
        const char *difference = world_facts_differ(before, world_facts());
        if (difference != NULL) {
            fail_msg("%zu: %s", i, difference);
        }
        while (!buddy_open_step(64)) {
        }
        assert_true(memory_account());
    }
}

/* ---- reading ---- */

static void test_open__version_by_version__up_to_the_newest_of_the_image(void **state)
{
    static const int wanted[3][4] = {/* version 0, 1, 2, 3 */
                                     {0},
                                     {-EPROTO, 0, -EPROTO, -EPROTO},
                                     {-EPROTO, 0, 0, -EPROTO}};
    copy_t c = {.nr = 0};

    (void)state;
    for (uint32_t newest = 1; newest <= 2; newest++) {
        for (uint32_t version = 0; version <= 3; version++) {
            struct stream_reader reader;
            const char *why = "";
            size_t length;

            c.version = version;
            uint8_t *stream = copy_build(&c, &length);
            fake_stream_newest = newest;
            assert_int_equal(stream_open(&reader, stream, length, &why), wanted[newest][version]);
            free(stream);
        }
    }
    fake_stream_newest = LU_STREAM_VERSION;
}

static void test_check__version_1_with_records_of_2__as_unknown_ones(void **state)
{
    struct lu_rec_cpus cpus = {.cpus = 1, .flags = LU_CPUS_VIRTUALIZED};
    copy_t c = copy_of(&good);

    (void)state;
    copy_insert(&c, copy_find(&c, LU_REC_HOST_STATE, 0), LU_REC_CPUS, &cpus, sizeof(cpus));
    assert_refused(&c, -EPROTO, "a mandatory record of an unknown type", "CPUS in version 1");
    copy_free(&c);
    /* The optional ones are skipped, whatever they say: nothing is claimed. */
    c = copy_of(&good);
    add_recorder(&c, 1);
    add_recorder(&c, c.nr);
    copy_insert(&c, 2, LU_REC_RECORDER, "rubbish", 7);
    add_digest(&c, 4711);
    add_stops(&c);
    add_stops(&c);
    assert_accepted(&c);
    assert_int_equal(frametable_count(FRAME_RECORDER), 0);
    copy_free(&c);
}

/* When something behind them is wrong, what was claimed goes back, and nothing else. */
static void test_check__version_1_fails_behind_a_recorder__nothing_dropped_for_it(void **state)
{
    copy_t c = copy_of(&good);

    (void)state;
    add_recorder(&c, 1);
    copy_remove(&c, copy_find(&c, LU_REC_HOST_STATE, 0));
    assert_refused(&c, -EBADMSG, "HOST or HOST_STATE is missing", "version 1");
    copy_free(&c);
}

static void test_check__version_2__recorder_claimed_once(void **state)
{
    struct frame_info f;

    (void)state;
    assert_accepted(&good);
    f = frametable_get(pa_to_mfn(RECORDER_PA + RECORDER_BYTES - 1));
    assert_int_equal(f.state, FRAME_RECORDER);
    assert_int_equal(f.head.v, RECORDER_PA >> PAGE_SHIFT);
    assert_int_equal(f.order, 4);
    assert_int_equal(frametable_count(FRAME_RECORDER), RECORDER_BYTES >> PAGE_SHIFT);
    assert_refused(&good, -EBADMSG, "MODULE: not in usable memory", "once more");
}

#define FIELD(type, record) ((type *)copy_at(c, record, 0))
#define CPUS FIELD(struct lu_rec_cpus, LU_REC_CPUS)
#define RECORDER FIELD(struct lu_rec_recorder, LU_REC_RECORDER)
#define DIGEST FIELD(struct lu_rec_digest, LU_REC_DIGEST)
#define FRESH FIELD(struct lu_rec_fresh, LU_REC_FRESH)
#define RUN(i) ((struct lu_fresh_run *)(FRESH + 1) + (i))

static void twice(copy_t *c, uint32_t type)
{
    size_t at = copy_find(c, type, 0);

    copy_insert(c, at + 1, type, c->records[at].data, c->records[at].length);
}

static void without(copy_t *c, uint32_t type)
{
    copy_remove(c, copy_find(c, type, 0));
}

static void to_length(copy_t *c, uint32_t type, size_t length)
{
    copy_resize(&c->records[copy_find(c, type, 0)], length);
}

/* Right behind HOST. */
static void move_to_front(copy_t *c, uint32_t type)
{
    size_t at = copy_find(c, type, 0);
    struct copy_record r = c->records[at];

    memmove(&c->records[2], &c->records[1], (at - 1) * sizeof(r));
    c->records[1] = r;
}

static uint64_t extent_pa(copy_t *c)
{
    const struct lu_rec_extents *rec = copy_at(c, LU_REC_EXTENTS, 0);

    return ((const struct lu_extent *)(rec + 1))->mfn << PAGE_SHIFT;
}

static void same_page_as(copy_t *c, uint64_t pa)
{
    RECORDER->pa = pa & PAGE_MASK;
    RECORDER->bytes = PAGE_SIZE;
}

#define CHANGES(X)                                                                              \
    X(cpus_missing, without(c, LU_REC_CPUS), "CPUS is missing")                                 \
    X(cpus_twice, twice(c, LU_REC_CPUS), "CPUS: doubled or of a wrong length")                  \
    X(cpus_short, to_length(c, LU_REC_CPUS, 15), "CPUS: doubled or of a wrong length")          \
    X(cpus_long, to_length(c, LU_REC_CPUS, 24), "CPUS: doubled or of a wrong length")           \
    X(cpus_empty, to_length(c, LU_REC_CPUS, 0), "CPUS: doubled or of a wrong length")           \
    X(cpus_flags, CPUS->flags |= 2, "CPUS: unknown flags")                                      \
    X(cpus_none, CPUS->cpus = 0, "CPUS: another number of CPUs")                                \
    X(cpus_more, CPUS->cpus = 2, "CPUS: another number of CPUs")                                \
    X(cpus_max, CPUS->cpus = UINT32_MAX, "CPUS: another number of CPUs")                        \
    X(cpus_feature, CPUS->features |= BIT(63), "CPUS: a feature is in use that this image")     \
    X(recorder_twice, twice(c, LU_REC_RECORDER), "RECORDER: doubled or of a wrong length")      \
    X(recorder_short, to_length(c, LU_REC_RECORDER, 8), "RECORDER: doubled or of a wrong")      \
    X(recorder_long, to_length(c, LU_REC_RECORDER, 17), "RECORDER: doubled or of a wrong")      \
    X(recorder_none, RECORDER->bytes = 0, "RECORDER: impossible values")                        \
    X(recorder_small, RECORDER->bytes = 2048, "RECORDER: impossible values")                    \
    X(recorder_odd, RECORDER->bytes = 3 * PAGE_SIZE, "RECORDER: impossible values")             \
    X(recorder_large, RECORDER->bytes = GIB(2), "RECORDER: impossible values")                  \
    X(recorder_largest, RECORDER->bytes = BIT(63), "RECORDER: impossible values")               \
    X(recorder_page, RECORDER->pa += PAGE_SIZE, "RECORDER: impossible values")                  \
    X(recorder_byte, RECORDER->pa += 8, "RECORDER: impossible values")                          \
    X(recorder_frame_0, RECORDER->pa = 0, "RECORDER: not in usable memory")                     \
    X(recorder_no_ram, RECORDER->pa = GIB(1), "RECORDER: not in usable memory")                 \
    X(recorder_end, RECORDER->pa = WORLD_HIGH_END, "RECORDER: not in usable memory")            \
    X(recorder_wraps, RECORDER->pa = 0 - RECORDER_BYTES, "RECORDER: not in usable memory")      \
    X(recorder_region, RECORDER->pa = WORLD_REGION, "RECORDER: not in usable memory")           \
    X(recorder_bad, same_page_as(c, WORLD_BAD_MFN << PAGE_SHIFT), "RECORDER: not in usable")    \
    X(recorder_guest, same_page_as(c, extent_pa(c)), "RECORDER: not in usable memory, or that") \
    X(digest_short, to_length(c, LU_REC_DIGEST, 12), "DIGEST: wrong length")                    \
    X(digest_long, to_length(c, LU_REC_DIGEST, 24), "DIGEST: wrong length")                     \
    X(digest_twice, twice(c, LU_REC_DIGEST), "DIGEST: unknown domain, doubled or impossible")   \
    X(digest_whose, DIGEST->domain = 77, "DIGEST: unknown domain, doubled or impossible")       \
    X(digest_reserved, DIGEST->reserved = 1, "DIGEST: unknown domain, doubled or impossible")   \
    X(digest_flags, DIGEST->flags = 2, "DIGEST: unknown domain, doubled or impossible")         \
    X(digest_memory, DIGEST->memory_crc = 1, "DIGEST: unknown domain, doubled or impossible")   \
    X(stops_twice, twice(c, LU_REC_STOPS), "STOPS: doubled or of a wrong length")               \
    X(stops_short, to_length(c, LU_REC_STOPS, 8), "STOPS: doubled or of a wrong length")        \
    X(stops_long, to_length(c, LU_REC_STOPS, 33), "STOPS: doubled or of a wrong length")        \
    X(fresh_short, to_length(c, LU_REC_FRESH, 7), "FRESH: wrong length")                        \
    X(fresh_empty, to_length(c, LU_REC_FRESH, 8), "FRESH: wrong length")                        \
    X(fresh_uneven, to_length(c, LU_REC_FRESH, 32), "FRESH: wrong length")                      \
    X(fresh_twice, twice(c, LU_REC_FRESH), "FRESH: unknown domain, doubled or reserved")        \
    X(fresh_whose, FRESH->domain = 77, "FRESH: unknown domain, doubled or reserved fields")     \
    X(fresh_reserved, FRESH->reserved[2] = 1, "FRESH: unknown domain, doubled or reserved")     \
    X(fresh_early, move_to_front(c, LU_REC_FRESH), "FRESH: unknown domain, doubled or")         \
    X(fresh_unit, RUN(1)->gfn++, "FRESH: misaligned, empty or unsorted runs")                   \
    X(fresh_part, RUN(2)->frames--, "FRESH: misaligned, empty or unsorted runs")                \
    X(fresh_none, RUN(0)->frames = 0, "FRESH: misaligned, empty or unsorted runs")              \
    X(fresh_overlap, RUN(1)->gfn -= 512, "FRESH: misaligned, empty or unsorted runs")           \
    X(fresh_order, RUN(2)->gfn = 0, "FRESH: misaligned, empty or unsorted runs")                \
    X(fresh_far, RUN(2)->gfn = BIT(40), "FRESH: misaligned, empty or unsorted runs")            \
    X(fresh_long, RUN(2)->frames = BIT(40) - 4608, "FRESH: misaligned, empty or unsorted")      \
    X(fresh_wraps, RUN(2)->frames = UINT64_MAX - 511, "FRESH: misaligned, empty or unsorted")

COPY_CHANGES(CHANGES);

static void test_check__each_thing_wrong__refused_and_nothing_changed(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        copy_t c = copy_of(&good);

        changes[i].change(&c);
        assert_refused(&c, -EBADMSG, changes[i].why, changes[i].name);
        copy_free(&c);
    }
    assert_accepted(&good);
}

/* What was true where the stream was written is not true here. */
static void test_check__another_machine__refused(void **state)
{
    copy_t *c = &good;

    (void)state;
    cpus_expected = 2;
    assert_refused(c, -EBADMSG, "CPUS: another number of CPUs", "one is missing");
    CPUS->cpus = 2;
    cpus_expected = 1;
    assert_refused(c, -EBADMSG, "CPUS: another number of CPUs", "one too many");
    CPUS->cpus = 1;
    fake_hvm.found = NULL;
    assert_refused(c, -EBADMSG, "CPUS: vCPUs run, and there is no virtualization", "no VMX");
    fake_hvm.found = hvm;
    fake_features &= ~LU_FEATURE_STATES;
    assert_refused(c, -EBADMSG, "CPUS: a feature is in use that this image lacks", "no states");
    fake_features = CPUS->features; /* no more than that */
    assert_accepted(c);
}

/* Virtualization that is found where there was none is no reason. */
static void test_check__domains_did_not_run__accepted_with_and_without_virtualization(void **state)
{
    copy_t *c = &good;

    (void)state;
    CPUS->flags = 0;
    CPUS->features = 0;
    assert_accepted(c);
    world_boot_closed(1, false);
    assert_accepted(c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_V1(name) cmocka_unit_test_setup_teardown(name, setup_v1, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save__each_version__has_its_records),
        cmocka_unit_test(test_save__cpus__the_machine_and_what_is_used),
        cmocka_unit_test(test_save__facts_through_both_versions__the_same),
        cmocka_unit_test(test_open__version_by_version__up_to_the_newest_of_the_image),
        TEST_V1(test_check__version_1_with_records_of_2__as_unknown_ones),
        TEST_V1(test_check__version_1_fails_behind_a_recorder__nothing_dropped_for_it),
        TEST(test_check__version_2__recorder_claimed_once),
        TEST(test_check__each_thing_wrong__refused_and_nothing_changed),
        TEST(test_check__another_machine__refused),
        TEST(test_check__domains_did_not_run__accepted_with_and_without_virtualization),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
