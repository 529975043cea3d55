/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole updates on the fake machine between images that know different versions of the stream, and
 * what becomes of one when a bit of it changes on the way.
 */
#include "fakes/whole_update.h"

#include "hv/crc32c.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/way_back.h"

/* An image in a module, and which versions its note names; its index. */
static unsigned int add_image(const char *cmdline, uint8_t id, uint32_t min, uint32_t max)
{
    make_elf(id);
    elf.notes.note.stream_min = min;
    elf.notes.note.stream_max = max;
    elf.notes.note.flags = LU_NOTE_TAKES_CPUS;
    (void)add_sealed(cmdline);
    return modules_images() - 1;
}

/* One update to an image that knows up to `newest`; the stream's version. */
static uint32_t update_to(unsigned int index, uint32_t newest, unsigned int arena)
{
    struct hc_lu_status s;

    if (lu_load_module(index, why) != 0) {
        fail_msg("%s", why);
    }
    struct vcpu *caller = caller_vcpu();

    lu.attempts++;
    char *facts = world_facts();
    lu.attempts--;
    assert_true(exec(caller));
    relocate();
    forget_image();
    fake_stream_newest = newest;
    world_boot_image(arena, fake_va(fake_end.info_pa), PAGE_SIZE, next_start(), true);
    lu_get_status(&s);
    assert_int_equal(s.stream_version, 0);
    lu_check();
    lu_adopt();
    assert_facts_equal(facts, world_facts());
    work_until_done();
    lu_get_status(&s);
    return s.stream_version;
}

static void test_update__to_version_1_and_back__facts_kept_and_nothing_leaks(void **state)
{
    static const struct {
        unsigned int image; /* that knows so much */
        uint32_t stream;
    } rows[] = {{2, 2}, {1, 1}, {2, 1}, {2, 2}, {1, 1}, {1, 1}, {2, 1}, {2, 2}};
    unsigned int index[3];

    (void)state;
    world_sample(false);
    index[1] = add_image("image one", 1, 1, 1);
    index[2] = add_image("image two", 2, 1, 2);
    struct world_count before = steady_count();

    for (unsigned int n = 0; n < ARRAY_SIZE(rows); n++) {
        char text[32];

        fake_log_clear();
        make_elf((uint8_t)rows[n].image);
        assert_int_equal(update_to(index[rows[n].image], rows[n].image, 1 - n % 2), rows[n].stream);
        fmt_str(text, sizeof(text), " stream=%u blackout=", rows[n].stream);
        assert_true(fake_printed(text));
        assert_counts_equal(&before);
        assert_true(memory_account());
    }
}

static void test_load__no_version_in_common__refused(void **state)
{
    static const struct {
        uint32_t own, min, max;
        uint32_t stream; /* 0: refused */
    } rows[] = {
        {2, 1, 1, 1}, {2, 1, 2, 2}, {2, 2, 2, 2}, {2, 2, 9, 2}, {2, 3, 9, 0}, {1, 1, 1, 1},
        {1, 1, 2, 1}, {1, 1, 9, 1}, {1, 2, 2, 0}, {1, 2, 9, 0}, {2, 0, 0, 0}, {1, 0, 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        unsigned int index = add_image("image", 1, rows[i].min, rows[i].max);
        int rc;

        fake_stream_newest = rows[i].own;
        rc = lu_load_module(index, why);
        if (rows[i].stream == 0) {
            assert_int_equal(rc, -EPROTO);
            assert_int_equal(lu.code, HC_LU_R_STREAM);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_int_equal(lu.loaded.stream_version, rows[i].stream);
        assert_int_equal(writer.version, rows[i].stream);
        lu_unload();
    }
    fake_stream_newest = LU_STREAM_VERSION;
}

/* The old image holds its own CPUS against what it knows of itself, as the next one would. */
static void test_poll__own_cpus_do_not_hold__refused_and_guests_go_on(void **state)
{
    (void)state;
    world_sample(false);
    unsigned int index = add_image("image", 1, 1, 2);

    for (unsigned int fault = 0; fault < 3; fault++) {
        assert_int_equal(lu_load_module(index, why), 0);
        uint64_t features = fake_features;
        fake_features = fault == 0 ? 0 : features;
        cpus_expected = fault == 1 ? 2 : 1;
        fake_hvm.found = fault == 2 ? NULL : hvm;
        struct vcpu *caller = caller_vcpu();
        assert_false(exec(caller));
        assert_int_equal((int64_t)caller->gpr[GPR_RAX], -EBADMSG);
        assert_int_equal(lu.code, HC_LU_R_OWN_STREAM);
        assert_non_null(strstr(lu.reason, "CPUS: "));
        fake_features = features;
        cpus_expected = 1;
        fake_hvm.found = hvm;
    }
    assert_true(exec(NULL));
    next_image(1, true);
}

/* ---- changed on the way ---- */

static uint64_t rng; /* of the changes; the world has its own */

static uint64_t below(uint64_t n)
{
    rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (rng >> 33) % n;
}

/* The handed-over pages, list first. */
static struct {
    size_t nr, lists;
    uint8_t *page[600];
    uint8_t *saved[600];
    struct lu_handover handover;
} sent;

static void note_page(paddr_t pa)
{
    assert_true(sent.nr < ARRAY_SIZE(sent.page));
    sent.page[sent.nr] = fake_va(pa);
    sent.saved[sent.nr] = malloc(PAGE_SIZE);
    assert_non_null(sent.saved[sent.nr]);
    memcpy(sent.saved[sent.nr], sent.page[sent.nr], PAGE_SIZE);
    sent.nr++;
}

static void note_sent(void)
{
    const struct lu_mfn_list_page *list;

    sent.nr = 0;
    sent.handover = *handover();
    for (paddr_t pa = sent.handover.breadcrumb.mfn_list_pa; pa != 0; pa = list->next_pa) {
        list = fake_va(pa);
        note_page(pa);
    }
    sent.lists = sent.nr;
    for (size_t l = 0; l < sent.lists; l++) {
        list = (const void *)sent.page[l];
        for (size_t i = 0; i < LU_MFN_LIST_ENTRIES && list->mfns[i] != 0; i++) {
            note_page(list->mfns[i] << PAGE_SHIFT);
        }
    }
    assert_int_equal(sent.nr - sent.lists, sent.handover.breadcrumb.stream_pages);
}

static void put_right(void)
{
    for (size_t i = 0; i < sent.nr; i++) {
        memcpy(sent.page[i], sent.saved[i], PAGE_SIZE);
    }
    *handover() = sent.handover;
}

static void forget_sent(void)
{
    while (sent.nr > 0) {
        free(sent.saved[--sent.nr]);
    }
}

static bool pages_changed(size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        if (memcmp(sent.page[i], sent.saved[i], PAGE_SIZE) != 0) {
            return true;
        }
    }
    return false;
}

static bool is_changed(void)
{
    return pages_changed(sent.nr) || memcmp(handover(), &sent.handover, sizeof(sent.handover)) != 0;
}

static uint8_t *some_page(void)
{
    /* Of list pages there are few: every third time. */
    return sent.page[below(3) == 0 ? below(sent.lists) : below(sent.nr)];
}

static void flip_bit(uint8_t *bytes, size_t size)
{
    size_t bit = below(8 * size);

    bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
}

static void swap_bytes(uint8_t *a, uint8_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t t = a[i];

        a[i] = b[i];
        b[i] = t;
    }
}

static struct lu_mfn_list_page *some_list(void)
{
    return (void *)sent.page[below(sent.lists)];
}

static uint64_t some_frame(void)
{
    static const uint64_t frames[] = {
        0, 1, WORLD_BAD_MFN, WORLD_REGION >> PAGE_SHIFT, UINT64_MAX, UINT64_C(1) << 40};

    return below(2) == 0 ? frames[below(ARRAY_SIZE(frames))] : below(MIB(64) >> PAGE_SHIFT);
}

/* Changes what was handed over; perhaps to what it was. */
static void change_something(unsigned int way)
{
    uint8_t *a = some_page(), *b = some_page();
    struct lu_mfn_list_page *list = some_list();

    switch (way) {
    case 0: /* the likely ones: a bit, anywhere */
    case 1:
    case 2:
        flip_bit(a, PAGE_SIZE);
        break;
    case 3: /* several */
        for (uint64_t n = 2 + below(10); n > 0; n--) {
            flip_bit(some_page(), PAGE_SIZE);
        }
        break;
    case 4: /* a word */
        memset(a + 8 * below(PAGE_SIZE / 8), (int)below(256), 8);
        break;
    case 5: /* a page: never written, or an old one */
        memset(a, below(2) == 0 ? 0 : 0x5a, PAGE_SIZE);
        break;
    case 6:
        swap_bytes(a, b, PAGE_SIZE);
        break;
    case 7: /* from one to another */
        memmove(b + 8 * below(256), a + 8 * below(256), 8 * (1 + below(255)));
        break;
    case 8:
        swap_bytes((uint8_t *)&list->mfns[below(40)], (uint8_t *)&list->mfns[below(40)], 8);
        break;
    case 9:
        list->mfns[below(LU_MFN_LIST_ENTRIES)] = some_frame();
        break;
    case 10:
        list->next_pa = some_frame() << PAGE_SHIFT;
        break;
    case 11:
        flip_bit((uint8_t *)&handover()->breadcrumb, sizeof(struct lu_breadcrumb));
        break;
    default:
        flip_bit((uint8_t *)&handover()->park.parked, sizeof(uint32_t));
        break;
    }
}

#define WAYS 13U

/* All of memory that the next image may not touch before it has adopted: the old image and what it
 * preserves. It has arena 1 and the handover page, and writes to the flight recorder. */
static uint32_t crc_of_the_rest(void)
{
    static const paddr_t ranges[][2] = {
        {0, KIB(640)},
        {MIB(1), WORLD_REGION},
        {WORLD_REGION + PAGE_SIZE, WORLD_REGION + WORLD_REGION_SIZE / 2},
        {WORLD_REGION_END, MIB(40)},
        {MIB(40) + PAGE_SIZE, MIB(64)},
    };
    const struct lu_recorder_ref *recorder = &sent.handover.recorder;
    uint32_t crc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
        for (paddr_t pa = ranges[i][0]; pa < ranges[i][1]; pa += PAGE_SIZE) {
            if (pa < recorder->pa || pa - recorder->pa >= recorder->bytes) {
                crc = crc32c(crc, fake_va(pa), PAGE_SIZE);
            }
        }
    }
    return crc;
}

/* The next image from its entry to where it has checked everything. */
static void check_again(void)
{
    paddr_t start = next_start(), end = region_arena_end(&region, 1);

    memset(fake_va(start), 0, end - start);
    forget_image();
    world_boot_image(1, fake_va(fake_end.info_pa), PAGE_SIZE, start, true);
    lu_check();
}

/* And to commit 1. */
static void adopt_again(void)
{
    check_again();
    lu_adopt();
}

static bool adopts(void)
{
    return !FAKE_ENDS(adopt_again());
}

static void assert_refused(const char *name)
{
    if (adopts()) {
        fail_msg("%s: adopted", name);
    }
    assert_int_equal(fake_end.handover_pa, WORLD_REGION);
    assert_int_equal(fake_end.entry_pa, FAKE_BACK_ENTRY);
    if (domain_list != NULL || image_modules != NULL || frametable_count(FRAME_GUEST) != 0 ||
        frametable_count(FRAME_MODULE) != 0) {
        fail_msg("%s: half of it is adopted", name);
    }
    assert_int_equal(handover()->failure.kind, LU_FAIL_REFUSED);
    assert_true(handover()->failure.reason[0] != '\0');
    assert_true(handover()->stage < LU_STAGE_ADOPTED);
    /* A list is not even begun with. */
    assert_true(!pages_changed(sent.lists) || frametable_count(FRAME_STREAM) == 0);
}

/* An image has jumped, and left a stream of `version`; its facts. */
static char *leave(uint32_t version, uint64_t seed)
{
    cold_boot(true);
    fake_random_seed(seed);
    world_sample(false);
    unsigned int index = add_image("image", 1, version, version);
    assert_int_equal(lu_load_module(index, why), 0);
    assert_true(exec(NULL));
    char *facts = world_facts();
    relocate();
    note_sent();
    return facts;
}

#define WORLDS 8U
#define CHANGES 40U

static void test_update__changed_between_save_and_adoption__never_half_adopted(void **state)
{
    (void)state;
    for (unsigned int world = 0; world < WORLDS; world++) {
        char *facts = leave(1 + world % 2, world + 1);
        uint32_t rest = crc_of_the_rest();

        for (unsigned int i = 0; i < CHANGES; i++) {
            char name[64];

            rng = world * CHANGES + i;
            do {
                change_something((unsigned int)below(WAYS));
            } while (!is_changed());
            fmt_str(name, sizeof(name), "seed %u", world * CHANGES + i);
            assert_refused(name);
            put_right();
            if (crc_of_the_rest() != rest) {
                fail_msg("%s: memory has changed", name);
            }
        }
        /* And as it was, it is taken. */
        assert_true(adopts());
        assert_facts_equal(facts, world_facts());
        forget_sent();
        (void)teardown(NULL);
    }
}

/* An image that offered no way back has not said how many CPUs it parked: since version 2 the
 * stream has. */
static void test_check__other_number_of_parked_cpus__said_by_the_stream(void **state)
{
    (void)state;
    for (uint32_t version = 1; version <= 2; version++) {
        free(leave(version, version));
        memset(handover()->back, 0, sizeof(handover()->back));
        handover()->park.parked = 2;
        fake_log_clear();
        assert_int_equal(FAKE_PANICS(adopt_again()), version == 2);
        assert_int_equal(fake_printed("CPUS: another number of CPUs than here"), version == 2);
        assert_int_equal(domain_list == NULL, version == 2);
        forget_sent();
        (void)teardown(NULL);
    }
}

/* The CPU can run vCPUs, as the check has found, and then it could not be turned on. */
static void test_adopt__virtualization_fails__back(void **state)
{
    (void)state;
    free(leave(2, 1));
    check_again();
    hvm = NULL;
    assert_true(FAKE_ENDS(lu_adopt()));
    assert_int_equal(fake_end.entry_pa, FAKE_BACK_ENTRY);
    assert_int_equal(handover()->failure.kind, LU_FAIL_REFUSED);
    assert_non_null(strstr(handover()->failure.reason, "virtualization cannot be turned on"));
    assert_true(handover()->stage < LU_STAGE_ADOPTED);
    assert_null(domain_list);
    forget_sent();
    (void)teardown(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_update__to_version_1_and_back__facts_kept_and_nothing_leaks),
        TEST(test_load__no_version_in_common__refused),
        TEST(test_poll__own_cpus_do_not_hold__refused_and_guests_go_on),
        cmocka_unit_test(test_check__other_number_of_parked_cpus__said_by_the_stream),
        cmocka_unit_test(test_adopt__virtualization_fails__back),
        cmocka_unit_test(test_update__changed_between_save_and_adoption__never_half_adopted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
