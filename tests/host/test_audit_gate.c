/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit inside updates: what is refused, what leads back, what is found after coming back, and
 * that nothing of it happens where nobody has asked for it.
 */
#include "fakes/whole_update.h"

#include <stdio.h>

#include "hv/buddy.h"
#include "hv/modules.h"

#define ULL(x) ((unsigned long long)(x))

static unsigned int image; /* its number */

/* A world with an image to update to, and `words` on the command line. */
static void begin(const char *words)
{
    static char line[100];

    snprintf(line, sizeof(line), "%s %s", WORLD_CMDLINE, words);
    lu.boot.cmdline = line;
    world_sample(false);
    make_elf(1);
    elf.notes.note.flags |= LU_NOTE_WAY_BACK;
    (void)add_sealed("image");
    image = modules_images() - 1;
}

static void load_image(void)
{
    if (lu_load_module(image, why) != 0) {
        fail_msg("%s", why);
    }
    let_run();
}

/* Up to the jump, and into the next image as far as lu_check(). */
static void jump(void)
{
    load_image();
    assert_true(exec(NULL));
    relocate();
    boot_again();
    lu_check();
}

static unsigned int digests(bool *memory)
{
    struct stream_reader r;
    struct stream_item item;
    const char *reason;
    unsigned int nr = 0;

    assert_int_equal(stream_open(&r, lu.stream, lu.stream_pages * PAGE_SIZE, &reason), 0);
    *memory = true;
    while (stream_next(&r, &item)) {
        if (item.type == LU_REC_DIGEST) {
            *memory &= (((const struct lu_rec_digest *)(const void *)item.data)->flags &
                        LU_DIGEST_MEMORY) != 0;
            nr++;
        }
    }
    return nr;
}

static unsigned int domains(void)
{
    unsigned int nr = 0;

    for_each_domain(d) {
        nr++;
    }
    return nr;
}

/* A byte of a domain's memory, in the middle of one of its extents. */
static uint8_t *guest_byte(uint16_t id)
{
    const struct extent_map *map = &domain_find(id)->extents;

    return (uint8_t *)mfn_to_va(map->items[map->nr / 2].mfn) + 0x123;
}

#define assert_goes_back(text)                                              \
    do {                                                                    \
        assert_true(FAKE_ENDS(lu_adopt()));                                 \
        assert_int_equal(fake_end.backs, 1);                                \
        assert_int_equal(handover()->failure.kind, LU_FAIL_REFUSED);        \
        assert_int_equal(handover()->stage, LU_STAGE_BOOTED);               \
        if (strncmp(handover()->failure.reason, text, strlen(text)) != 0) { \
            fail_msg("back for \"%s\"", handover()->failure.reason);        \
        }                                                                   \
    } while (0)

/* ---- on, and nothing is wrong ---- */

static void test_update__each_setting__digests_travel_as_asked(void **state)
{
    static const struct {
        const char *words;
        bool audits, extents, memory;
    } rows[] = {
        {"", false, false, false},
        {"audit=off", false, false, false},
        {"audit=?", false, false, false},
        {"audit=update", true, true, false},
        {"audit=memory", true, true, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        bool memory;

        (void)teardown(state);
        cold_boot(true);
        begin(rows[i].words);
        unsigned int nr = domains();
        lu.attempts++;
        char *facts = world_facts();
        lu.attempts--;
        jump();
        assert_int_equal(digests(&memory), rows[i].extents ? nr : 0);
        assert_true(!rows[i].extents || memory == rows[i].memory);
        lu_adopt();
        assert_int_equal(lu.handover->stage, LU_STAGE_ADOPTED);
        assert_facts_equal(facts, world_facts());
        fake_log_clear();
        work_until_done();
        assert_int_equal(fake_printed("audit: ok frames="), rows[i].audits);
    }
}

/* A stream of version 1 has no such record. */
static void test_update__to_version_1__no_digests(void **state)
{
    bool memory;

    (void)state;
    begin("audit=memory");
    make_elf(3);
    elf.notes.note.stream_max = 1;
    elf.notes.note.stream_min = 1;
    (void)add_sealed("image one");
    image++;
    jump();
    assert_int_equal(digests(&memory), 0);
    lu_adopt();
    assert_int_equal(lu.handover->stage, LU_STAGE_ADOPTED);
}

/* What a sum costs does not count as a hang. */
static void test_poll__slow_sums__deadline_moves(void **state)
{
    uint64_t until[2];

    (void)state;
    for (int on = 0; on < 2; on++) {
        (void)teardown(state);
        cold_boot(true);
        begin(on ? "audit=memory" : "");
        fake_tsc_step = 100000000; /* each look at the clock is 0.1 s */
        load_image();
        assert_true(exec(NULL));
        until[on] = handover()->back[0].deadline_tsc - handover()->stamps.stop;
        fake_tsc_step = 100;
    }
    assert_true(until[1] >= until[0] + 200000000);
}

/* ---- refused ---- */

static void test_poll__mismatch__refused_and_guests_go_on(void **state)
{
    struct hc_lu_status s;
    struct vcpu *caller;

    (void)state;
    begin("audit=update");
    caller = caller_vcpu();
    struct domain *d = domain_find(1);
    mfn_t mine = d->extents.items[4].mfn;
    char want[100];

    load_image();
    d->extents.items[4].mfn = d->extents.items[5].mfn;
    snprintf(want, sizeof(want), "audit: mfn 0x%llx: frametable: GUEST of 1 order ",
             ULL(d->extents.items[4].mfn.v));
    assert_int_equal(lu_request_exec(caller, why), 0);
    lu_poll();
    lu_get_status(&s);
    assert_int_equal(s.code, HC_LU_R_AUDIT);
    assert_int_equal(s.last_result, -EBADMSG);
    assert_int_equal(strncmp(s.reason, want, strlen(want)), 0);
    assert_int_equal((int64_t)caller->gpr[GPR_RAX], -EBADMSG);
    assert_int_equal(fake_end.jumps, 0);
    assert_false(way_back_open());
    d->extents.items[4].mfn = mine;
    assert_true(exec(NULL));
    assert_int_equal(fake_end.jumps, 1);
}

/* ---- the new side ---- */

static void test_adopt__memory_changed__goes_back(void **state)
{
    char want[64];

    (void)state;
    begin("audit=memory");
    uint32_t before = domain_digest(domain_find(9));
    load_image();
    assert_true(exec(NULL));
    *guest_byte(9) ^= 4;
    uint32_t after = domain_digest(domain_find(9));
    relocate();
    boot_again();
    lu_check();
    snprintf(want, sizeof(want), "audit: domain 9: digest of memory was %08x, is %08x", before,
             after);
    assert_goes_back(want);
}

static void test_adopt__memory_changed_and_only_extents_asked_for__adopted(void **state)
{
    (void)state;
    begin("audit=update");
    load_image();
    assert_true(exec(NULL));
    *guest_byte(9) ^= 4;
    relocate();
    boot_again();
    lu_check();
    lu_adopt();
    assert_int_equal(lu.handover->stage, LU_STAGE_ADOPTED);
}

/* A stream whose extents are sound and not those that the old image had. */
static void test_adopt__extents_changed__goes_back(void **state)
{
    struct stream_reader r;
    struct stream_item item;
    const char *reason;

    (void)state;
    begin("audit=update");
    jump();
    assert_int_equal(stream_open(&r, lu.stream, lu.stream_pages * PAGE_SIZE, &reason), 0);
    while (stream_next(&r, &item)) { /* after all checks, so nobody but the audit can notice */
        if (item.type == LU_REC_EXTENTS) {
            struct lu_extent *e = (struct lu_extent *)(uintptr_t)(item.data + 8);

            e[0].flags ^= 1;
            break;
        }
    }
    assert_goes_back("audit: domain 1: digest of extents was ");
}

static void test_adopt__frames_do_not_agree__goes_back(void **state)
{
    (void)state;
    begin("audit=update");
    jump();
    mfn_t mfn = pa_to_mfn(MIB(1));
    while (frametable_get(mfn).state != FRAME_NONE) {
        mfn.v++;
    }
    assert_int_equal(frametable_claim(mfn, 0, FRAME_GUEST, 1), 0);
    char want[100];
    snprintf(want, sizeof(want),
             "audit: mfn 0x%llx: frametable: GUEST of 1 order 0; extents: no domain's", ULL(mfn.v));
    assert_goes_back(want);
}

/* ---- back in the old image ---- */

static struct domain *spoilt;

static void next_image_fails(void)
{
    handover()->failure = (struct lu_failure){.kind = LU_FAIL_PANIC, .reason = "no luck"};
    if (spoilt != NULL) {
        *guest_byte(spoilt->id) ^= 1;
    }
}

static void come_back_with(struct domain *d)
{
    spoilt = d;
    fake_end.comes_back = next_image_fails;
    load_image();
    assert_int_equal(lu_request_exec(NULL, why), 0);
    fake_log_clear();
    lu_poll();
    fake_end.comes_back = NULL;
}

static void test_come_back__memory_as_before_or_not__said(void **state)
{
    (void)state;
    begin("audit=memory");
    come_back_with(NULL);
    assert_false(fake_printed("audit: MISMATCH"));
    work_until_done();
    assert_true(fake_printed("audit: ok frames="));
    come_back_with(domain_find(9));
    assert_true(fake_printed("audit: MISMATCH back: domain 9: digest of memory was "));
    work_until_done();
}

static void test_come_back__extents_not_as_before__said(void **state)
{
    (void)state;
    begin("audit=update");
    come_back_with(domain_find(9)); /* memory is nobody's business */
    assert_false(fake_printed("audit: MISMATCH"));
    work_until_done();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_update__each_setting__digests_travel_as_asked),
        TEST(test_update__to_version_1__no_digests),
        TEST(test_poll__slow_sums__deadline_moves),
        TEST(test_poll__mismatch__refused_and_guests_go_on),
        TEST(test_adopt__memory_changed__goes_back),
        TEST(test_adopt__memory_changed_and_only_extents_asked_for__adopted),
        TEST(test_adopt__extents_changed__goes_back),
        TEST(test_adopt__frames_do_not_agree__goes_back),
        TEST(test_come_back__memory_as_before_or_not__said),
        TEST(test_come_back__extents_not_as_before__said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
