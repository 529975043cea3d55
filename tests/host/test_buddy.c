/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heap: opening, allocation and freeing against a model, exhaustion, and what must never come out.
 */
#include "hv/buddy.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mm_boot.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define REGION MIB(16)
#define REGION_END MIB(40)
#define ARENA (REGION + PAGE_SIZE)
#define ARENA_END MIB(36)

/* A PC: 2 GiB minus the hole, then 3 GiB and a bit above 4 GiB; both ends are odd. */
static const struct e820_range pc_ranges[] = {
    {0, 0x9f000, E820_RAM},
    {0x9f000, 0x100000, 2},
    {0x100000, GIB(2) + 0x7000, E820_RAM},
    {GIB(4) + MIB(1), GIB(7) + MIB(3), E820_RAM},
};
static struct e820_range ranges[ARRAY_SIZE(pc_ranges)];
static struct e820 map = {.ranges = ranges, .nr = ARRAY_SIZE(pc_ranges)};

static mfn_t frame(paddr_t pa)
{
    return pa_to_mfn(pa);
}

/* mm/ up to the point where the heap may open, in an arena of `arena` bytes. */
static void boot(paddr_t arena)
{
    boot_alloc_init(ARENA, ARENA + arena, false, fake_no_bad);
    assert_int_equal(frametable_init(&map), 0);
    buddy_init();
    boot_alloc_finish();
    assert_int_equal(frametable_claim(frame(0), 0, FRAME_RESERVED, OWNER_NONE), 0);
    assert_int_equal(
        frametable_claim_range(frame(REGION), frame(REGION_END), FRAME_REGION, OWNER_NONE), 0);
}

static int setup(void **state)
{
    (void)state;
    fake_machine_reset();
    memcpy(ranges, pc_ranges, sizeof(pc_ranges));
    map.nr = ARRAY_SIZE(pc_ranges);
    fake_machine_add_ram(ARENA, ARENA_END);
    boot(ARENA_END - ARENA);
    return 0;
}

static uint64_t region_frames(void)
{
    return (REGION_END - REGION) / PAGE_SIZE;
}

static void check_counts(void)
{
    uint64_t walked[FRAME_STATES];
    uint64_t sum = 0;

    frametable_walk(walked);
    for (unsigned int s = 0; s < FRAME_STATES; s++) {
        assert_int_equal(walked[s], frametable_count((enum frame_state)s));
        sum += walked[s];
    }
    assert_int_equal(sum, e820_ram_frames(&map));
    assert_int_equal(walked[FRAME_FREE], buddy_free_frames());
}

/* The invariant: every free block is aligned, as large as it says, and its buddy is not free. */
static void check_merged(void)
{
    uint64_t end = e820_ram_end(&map) >> PAGE_SHIFT;

    for (uint64_t pos = 0; pos < end;) {
        struct frame_info info = frametable_get(mfn_from(pos));

        assert_int_equal(info.head.v, pos);
        if (info.state == FRAME_FREE && info.order < MAX_ORDER) {
            struct frame_info buddy = frametable_get(mfn_from(pos ^ BIT(info.order)));

            assert_false(buddy.state == FRAME_FREE && buddy.order == info.order);
        }
        pos += BIT(info.order);
    }
}

static void test_open__in_slices_of_one__all_ram_once_in_largest_blocks(void **state)
{
    (void)state;
    unsigned int steps = 1;

    assert_false(buddy_opened());
    assert_int_equal(buddy_largest_order(), -1);
    while (!buddy_open_step(1)) {
        steps++;
        check_counts();
    }
    assert_true(buddy_opened());
    assert_true(buddy_open_step(1));
    /* Three whole GiB, a partial one above and below each, four sections frame by frame. */
    assert_in_range(steps, 20, 60);
    assert_int_equal(frametable_count(FRAME_NONE), 0);
    assert_int_equal(buddy_free_frames(), e820_ram_frames(&map) - region_frames() - 1);
    assert_int_equal(buddy_largest_order(), MAX_ORDER);
    assert_int_equal(frametable_get(frame(GIB(5))).order, MAX_ORDER);
    check_merged();
}

static void test_alloc__before_opening__nothing_and_nothing_opened(void **state)
{
    (void)state;
    for (unsigned int order = 0; order <= MAX_ORDER; order++) {
        assert_false(mfn_valid(buddy_alloc(order, FRAME_GUEST, 1)));
    }
    assert_int_equal(frametable_count(FRAME_NONE), e820_ram_frames(&map) - region_frames() - 1);
}

static void test_alloc__open_part_empty__opens_more(void **state)
{
    (void)state;
    assert_false(buddy_open_step(1));
    mfn_t mfn = buddy_alloc(MAX_ORDER, FRAME_GUEST, 5);
    assert_true(mfn_valid(mfn));
    struct frame_info info = frametable_get(mfn_from(mfn.v + 12345));
    assert_int_equal(info.state, FRAME_GUEST);
    assert_int_equal(info.order, MAX_ORDER);
    assert_int_equal(info.owner, 5);
    assert_int_equal(info.head.v, mfn.v);
    check_counts();
}

static void test_alloc__state_or_order_not_allowed__invalid(void **state)
{
    (void)state;
    fake_mm_open();
    static const enum frame_state refused[] = {FRAME_NONE, FRAME_FREE,     FRAME_REGION,
                                               FRAME_BAD,  FRAME_RESERVED, FRAME_STATES};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        assert_false(mfn_valid(buddy_alloc(0, refused[i], 1)));
    }
    assert_false(mfn_valid(buddy_alloc(MAX_ORDER + 1, FRAME_GUEST, 1)));
    assert_false(mfn_valid(buddy_alloc(~0U, FRAME_GUEST, 1)));
    check_counts();
}

/* Everything there is, one frame at a time, as a preserved kind: no frame of the region, no bad and
 * no reserved frame may come, and each comes once. */
static void test_alloc__all_frames_as_preserved__never_region_nor_bad(void **state)
{
    (void)state;
    paddr_t bad[] = {MIB(1), MIB(300) + 0x5000, GIB(4) + MIB(1), GIB(5),
                     GIB(6) + MIB(511) + 0xff000};
    uint64_t frames = e820_ram_end(&map) >> PAGE_SHIFT;
    uint8_t *seen = calloc(frames, 1);
    uint64_t got = 0;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(frametable_claim(frame(bad[i]), 0, FRAME_BAD, OWNER_NONE), 0);
    }
    fake_mm_open();
    uint64_t start = buddy_free_frames();
    static const enum frame_state kinds[] = {FRAME_GUEST, FRAME_STREAM, FRAME_MODULE,
                                             FRAME_RECORDER};
    unsigned int order = 0;
    for (;;) {
        /* Large ones first, to be quick; then what is left. */
        mfn_t mfn = buddy_alloc(6 - order, kinds[got % 3], 1);

        if (!mfn_valid(mfn)) {
            if (order == 6) {
                break;
            }
            order++;
            continue;
        }
        for (uint64_t f = mfn.v; f < mfn.v + BIT(6 - order); f++) {
            assert_true(e820_is_ram(&map, f << PAGE_SHIFT, (f + 1) << PAGE_SHIFT));
            assert_false(
                ranges_overlap(f << PAGE_SHIFT, (f + 1) << PAGE_SHIFT, REGION, REGION_END));
            assert_int_equal(seen[f], 0);
            seen[f] = 1;
            got++;
        }
    }
    assert_int_equal(got, start);
    assert_int_equal(seen[0], 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(seen[frame(bad[i]).v], 0);
    }
    /* The tables came from the arena alone, so every frame was to be had. */
    assert_int_equal(got, e820_ram_frames(&map) - region_frames() - 1 - ARRAY_SIZE(bad));
    check_counts();
    for (uint64_t f = 0; f < frames;) {
        struct frame_info info = frametable_get(mfn_from(f));

        if (seen[f]) {
            buddy_free(mfn_from(f), info.order);
        }
        f += BIT(info.order);
    }
    assert_int_equal(buddy_free_frames(), start);
    check_counts();
    check_merged();
    free(seen);
}

struct held {
    mfn_t mfn;
    unsigned int order;
    enum frame_state state;
    uint16_t owner;
};

#define MAX_HELD 4000U

static void check_held(const struct held *h)
{
    struct frame_info info = frametable_get(mfn_from(h->mfn.v + BIT(h->order) - 1));

    assert_int_equal(info.state, h->state);
    assert_int_equal(info.order, h->order);
    assert_int_equal(info.head.v, h->mfn.v);
    if (h->state != FRAME_IMAGE) {
        assert_int_equal(info.owner, h->owner);
    }
}

/* A random trace with a map of all taken frames as the model. */
static void random_trace(unsigned int seed, unsigned int max_order, unsigned int steps)
{
    uint64_t frames = e820_ram_end(&map) >> PAGE_SHIFT;
    uint8_t *taken = calloc(frames, 1);
    struct held *held = malloc(MAX_HELD * sizeof(*held));
    unsigned int nr = 0;
    uint64_t held_frames = 0;

    fake_random_seed(seed);
    uint64_t start = buddy_free_frames() + frametable_count(FRAME_IMAGE);
    for (unsigned int i = 0; i < steps; i++) {
        bool grow = i % 2000 < 1200 ? random_u64() % 3 != 0 : random_u64() % 3 == 0;

        if (grow && nr < MAX_HELD) {
            struct held h = {.order = (unsigned int)(random_u64() % (max_order + 1)),
                             .state = random_u64() % 2 == 0 ? FRAME_GUEST : FRAME_STREAM,
                             .owner = (uint16_t)random_u64()};

            h.mfn = buddy_alloc(h.order, h.state, h.owner);
            if (!mfn_valid(h.mfn)) {
                assert_true(buddy_opened());
                assert_true(buddy_largest_order() < (int)h.order);
                continue;
            }
            assert_true(is_aligned(h.mfn.v, BIT(h.order)));
            for (uint64_t f = h.mfn.v; f < h.mfn.v + BIT(h.order); f++) {
                assert_int_equal(taken[f]++, 0);
            }
            held_frames += BIT(h.order);
            held[nr++] = h;
        } else if (nr > 0) {
            unsigned int at = (unsigned int)(random_u64() % nr);
            struct held h = held[at];

            check_held(&h);
            memset(&taken[h.mfn.v], 0, BIT(h.order));
            held_frames -= BIT(h.order);
            buddy_free(h.mfn, h.order);
            held[at] = held[--nr];
        }
        assert_int_equal(frametable_count(FRAME_GUEST) + frametable_count(FRAME_STREAM),
                         held_frames);
        if (buddy_opened()) {
            assert_int_equal(buddy_free_frames() + frametable_count(FRAME_IMAGE) + held_frames,
                             start);
        }
    }
    check_counts();
    check_merged();
    while (nr > 0) {
        nr--;
        check_held(&held[nr]);
        buddy_free(held[nr].mfn, held[nr].order);
    }
    assert_int_equal(buddy_free_frames() + frametable_count(FRAME_IMAGE), start);
    assert_int_equal(frametable_split_preserved(), 0);
    check_counts();
    check_merged();
    free(held);
    free(taken);
}

static void test_alloc_free__random_traces__free_as_at_start(void **state)
{
    static const unsigned int max_orders[] = {3, 9, 12, 18};

    for (unsigned int i = 0; i < ARRAY_SIZE(max_orders); i++) {
        setup(state);
        fake_mm_open();
        uint64_t free_frames = buddy_free_frames();
        uint64_t left = boot_alloc_left();
        random_trace(i + 1, max_orders[i], 8000);
        assert_int_equal(buddy_free_frames(), free_frames);
        assert_int_equal(boot_alloc_left(), left);
        assert_int_equal(buddy_largest_order(), MAX_ORDER);
    }
}

/* 24 MiB of RAM and an arena of few pages: tables end up in the sections they describe. */
static void small_machine(paddr_t arena)
{
    fake_machine_reset();
    fake_machine_add_ram(0, MIB(48));
    ranges[0] = (struct e820_range){0x1000, MIB(23) + 0x3000, E820_RAM};
    ranges[1] = (struct e820_range){MIB(24), MIB(48) - 0x1000, E820_RAM};
    map.nr = 2;
    boot_alloc_init(ARENA, ARENA + arena, false, fake_no_bad);
    assert_int_equal(frametable_init(&map), 0);
    buddy_init();
    boot_alloc_finish();
    assert_int_equal(
        frametable_claim_range(frame(REGION), frame(MIB(22)), FRAME_REGION, OWNER_NONE), 0);
}

static void test_alloc_free__arena_empty__tables_in_their_own_sections(void **state)
{
    (void)state;
    for (unsigned int pages = 2; pages < 8; pages++) {
        small_machine(pages * PAGE_SIZE);
        fake_mm_open();
        uint64_t image = frametable_count(FRAME_IMAGE);
        uint64_t free_frames = buddy_free_frames();
        uint64_t left = boot_alloc_left();
        check_counts();
        random_trace(pages, pages % 2 == 0 ? 2 : 9, 4000);
        assert_int_equal(frametable_count(FRAME_IMAGE), image);
        assert_int_equal(buddy_free_frames(), free_frames);
        assert_int_equal(boot_alloc_left(), left);
    }
}

/* A claim in a blank section when the arena is empty takes its table from the open heap; freeing
 * the claim gives the table back, which makes the section it came from whole again. */
static void test_claim__arena_empty__table_from_heap_and_back(void **state)
{
    (void)state;
    small_machine(2 * PAGE_SIZE);
    assert_false(buddy_open_step(1));
    uint64_t image = frametable_count(FRAME_IMAGE);
    assert_int_equal(frametable_claim(frame(MIB(40) + 0x5000), 0, FRAME_GUEST, 9), 0);
    assert_in_range(frametable_count(FRAME_IMAGE), image + 1, image + 2);
    check_counts();
    frametable_unclaim(frame(MIB(40) + 0x5000), 0);
    assert_int_equal(frametable_count(FRAME_IMAGE), image);

    assert_int_equal(frametable_claim(frame(MIB(40) + 0x5000), 0, FRAME_GUEST, 9), 0);
    fake_mm_open();
    buddy_free(frame(MIB(40) + 0x5000), 0);
    assert_int_equal(frametable_get(frame(MIB(40))).state, FRAME_FREE);
    assert_in_range(frametable_get(frame(MIB(40))).order, 9, 18);
    check_counts();
    check_merged();
}

static void test_free__claimed_blocks_ahead_of_opening__not_fed_twice(void **state)
{
    (void)state;
    static const struct {
        paddr_t pa;
        unsigned int order;
    } rows[] = {
        {MIB(512), 17}, {MIB(4), 9},          {MIB(6), 9}, {MIB(8) + 0x3000, 0},
        {GIB(5), 18},   {GIB(6) + 0x8000, 3}, {GIB(7), 9}, {MIB(42), 9},
    };
    for (unsigned int slice = 1; slice < 40; slice += 3) {
        setup(state);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            assert_int_equal(frametable_claim(frame(rows[i].pa), rows[i].order, FRAME_GUEST, 1), 0);
        }
        /* Some are freed before the opening comes by, some after. */
        for (unsigned int n = 0; n < slice; n++) {
            buddy_open_step(1);
        }
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
            buddy_free(frame(rows[i].pa), rows[i].order);
            buddy_open_step(1);
            check_counts();
        }
        fake_mm_open();
        assert_int_equal(buddy_free_frames(), e820_ram_frames(&map) - region_frames() - 1);
        check_counts();
        check_merged();
    }
}

/* The section at the cursor is freed and merges with the one before it, which is open. */
static void test_free__at_the_cursor__merged_block_not_fed_twice(void **state)
{
    for (unsigned int slices = 1; slices < 20; slices++) {
        setup(state);
        assert_int_equal(frametable_claim(frame(MIB(14)), 9, FRAME_GUEST, 1), 0);
        for (unsigned int n = 0; n < slices; n++) {
            buddy_open_step(1);
        }
        buddy_free(frame(MIB(14)), 9);
        fake_mm_open();
        assert_int_equal(buddy_free_frames(), e820_ram_frames(&map) - region_frames() - 1);
        check_counts();
        check_merged();
    }
}

static void test_open__claims_of_a_previous_image__all_respected(void **state)
{
    (void)state;
    uint64_t claimed = 0;

    for (unsigned int seed = 0; seed < 5; seed++) {
        setup(state);
        fake_random_seed(seed);
        claimed = 0;
        for (unsigned int i = 0; i < 3000; i++) {
            unsigned int order = (unsigned int)(random_u64() % 14);
            mfn_t mfn = mfn_from(align_down(random_u64() % frame(GIB(7)).v, BIT(order)));

            if (frametable_claim(mfn, order, FRAME_GUEST, 1) == 0) {
                claimed += BIT(order);
            }
        }
        assert_true(claimed > 0);
        while (!buddy_open_step(7)) {
        }
        assert_int_equal(frametable_count(FRAME_GUEST), claimed);
        assert_int_equal(frametable_count(FRAME_NONE), 0);
        assert_int_equal(buddy_free_frames(),
                         e820_ram_frames(&map) - region_frames() - 1 - claimed);
        check_counts();
        check_merged();
    }
}

static void test_open__mostly_claimed_memory__steps_stay_bounded(void **state)
{
    (void)state;
    /* Every section of three GiB is a guest's: a step looks at so many of them and no more. */
    for (uint64_t s = GIB(4) + MIB(2); s < GIB(7); s += MIB(2)) {
        assert_int_equal(frametable_claim(frame(s), 9, FRAME_GUEST, 1), 0);
    }
    unsigned int steps = 1;
    while (!buddy_open_step(1)) {
        steps++;
    }
    assert_true(steps > 1535 / 16);
}

static void test_free__misuse__panics(void **state)
{
    static const struct {
        paddr_t pa;
        unsigned int order;
        const char *what;
    } rows[] = {
        {REGION, 9, "region"},       {0, 0, "reserved"},           {MIB(600), 0, "free"},
        {GIB(5), 8, "wrong order"},  {GIB(5) + MIB(1), 8, "middle"}, {GIB(3), 0, "no RAM"},
        {GIB(6), 0, "bad"},          {GIB(9), 0, "outside"},
    };
    for (volatile size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        setup(state);
        assert_int_equal(frametable_claim(frame(GIB(5)), 9, FRAME_GUEST, 1), 0);
        assert_int_equal(frametable_claim(frame(GIB(6)), 0, FRAME_BAD, 1), 0);
        fake_mm_open();
        if (!FAKE_PANICS(buddy_free(frame(rows[i].pa), rows[i].order))) {
            fail_msg("freed: %s", rows[i].what);
        }
    }
    setup(state);
    fake_mm_open();
    mfn_t mfn = buddy_alloc(4, FRAME_IMAGE, OWNER_NONE);
    buddy_free(mfn, 4);
    assert_true(FAKE_PANICS(buddy_free(mfn, 4)));
}

static void test_free_memory__open_and_trace__never_touched(void **state)
{
    (void)state;
    /* setup() made only the arena accessible; so a touch of anything else would have faulted. */
    fake_mm_open();
    random_trace(99, 10, 1000);
    assert_true(fake_machine_touched_pages() <= (ARENA_END - ARENA) / PAGE_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_open__in_slices_of_one__all_ram_once_in_largest_blocks, setup),
        cmocka_unit_test_setup(test_alloc__before_opening__nothing_and_nothing_opened, setup),
        cmocka_unit_test_setup(test_alloc__open_part_empty__opens_more, setup),
        cmocka_unit_test_setup(test_alloc__state_or_order_not_allowed__invalid, setup),
        cmocka_unit_test_setup(test_alloc__all_frames_as_preserved__never_region_nor_bad, setup),
        cmocka_unit_test_setup(test_alloc_free__random_traces__free_as_at_start, setup),
        cmocka_unit_test_setup(test_alloc_free__arena_empty__tables_in_their_own_sections, setup),
        cmocka_unit_test_setup(test_claim__arena_empty__table_from_heap_and_back, setup),
        cmocka_unit_test_setup(test_free__claimed_blocks_ahead_of_opening__not_fed_twice, setup),
        cmocka_unit_test_setup(test_free__at_the_cursor__merged_block_not_fed_twice, setup),
        cmocka_unit_test_setup(test_open__claims_of_a_previous_image__all_respected, setup),
        cmocka_unit_test_setup(test_open__mostly_claimed_memory__steps_stay_bounded, setup),
        cmocka_unit_test_setup(test_free__misuse__panics, setup),
        cmocka_unit_test_setup(test_free_memory__open_and_trace__never_touched, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
