/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frametable: claims of all sizes, conflicts, accounting, and what a terabyte costs.
 */
#include "hv/frametable.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mm_boot.h"
#include "hv/errno.h"
#include "hv/seam.h"

#define REGION MIB(32)
#define REGION_END MIB(64)
#define ARENA (REGION + PAGE_SIZE)
#define ARENA_END MIB(48)

#define HIGH_RAM (GIB(4) + MIB(3))
#define RAM_END (GIB(8) - 0x5000)

static const struct e820_range pc_ranges[] = {
    {0, 0x9f000, E820_RAM},           {0x9f000, 0x100000, 2},
    {0x100000, GIB(3), E820_RAM},     {0xfec00000, GIB(4), 2},
    {HIGH_RAM, RAM_END, E820_RAM},
};
#define PC_FRAMES (0x9fU + ((GIB(3) - MIB(1)) + (RAM_END - HIGH_RAM)) / PAGE_SIZE)

static struct e820_range ranges[ARRAY_SIZE(pc_ranges)];
static struct e820 map = {.ranges = ranges, .nr = ARRAY_SIZE(pc_ranges)};

/* A PC of 7 GiB of which only the arena can be accessed: the frametable touches nothing else. */
static int setup(void **state)
{
    (void)state;
    fake_machine_reset();
    fake_machine_add_ram(ARENA, ARENA_END);
    memcpy(ranges, pc_ranges, sizeof(pc_ranges));
    boot_alloc_init(ARENA, ARENA_END, true, fake_no_bad);
    assert_int_equal(frametable_init(&map), 0);
    buddy_init();
    boot_alloc_finish();
    return 0;
}

static mfn_t frame(paddr_t pa)
{
    return pa_to_mfn(pa);
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
}

static void check_frame(paddr_t pa, enum frame_state state, unsigned int order, uint16_t owner,
                        paddr_t head)
{
    struct frame_info info = frametable_get(frame(pa));

    assert_int_equal(info.state, state);
    assert_int_equal(info.order, order);
    assert_int_equal(info.owner, owner);
    assert_int_equal(info.head.v, frame(head).v);
}

static void test_claim__bad_arguments__einval(void **state)
{
    (void)state;
    static const struct {
        paddr_t pa;
        unsigned int order;
        enum frame_state state;
        const char *what;
    } rows[] = {
        {GIB(1), MAX_ORDER + 1, FRAME_GUEST, "order"},
        {GIB(1), 200, FRAME_GUEST, "order far out"},
        {GIB(1) + PAGE_SIZE, 1, FRAME_GUEST, "alignment of a page pair"},
        {GIB(1) + MIB(2), 10, FRAME_GUEST, "alignment of sections"},
        {0x9f000, 0, FRAME_GUEST, "not RAM"},
        {0x9c000, 2, FRAME_GUEST, "end not RAM"},
        {GIB(4), 18, FRAME_GUEST, "start not RAM"},
        {GIB(100), 0, FRAME_GUEST, "behind the table"},
        {BIT(52), 0, FRAME_BAD, "no such address"},
        {GIB(1), 0, FRAME_NONE, "FRAME_NONE"},
        {GIB(1), 0, FRAME_FREE, "FRAME_FREE"},
        {GIB(1), 0, FRAME_STATES, "no state"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (frametable_claim(frame(rows[i].pa), rows[i].order, rows[i].state, 1) != -EINVAL) {
            fail_msg("%s: accepted", rows[i].what);
        }
    }
    assert_int_equal(frametable_claim(INVALID_MFN, 0, FRAME_GUEST, 1), -EINVAL);
    assert_int_equal(frametable_claim_range(frame(GIB(1)), frame(GIB(1)), FRAME_GUEST, 1), -EINVAL);
    assert_int_equal(frametable_claim_range(frame(GIB(2)), frame(GIB(4)), FRAME_GUEST, 1), -EINVAL);
    assert_int_equal(frametable_claim_range(frame(0), mfn_from(~UINT64_C(0)), FRAME_BAD, 1),
                     -EINVAL);
    assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES);
    check_counts();
}

static void test_claim__every_order__described_by_all_its_frames(void **state)
{
    (void)state;
    uint64_t used = 0;

    for (unsigned int order = 0; order <= MAX_ORDER; order++) {
        paddr_t bytes = PAGE_SIZE << order;
        paddr_t pa = GIB(5) + (order < MAX_ORDER ? 2 * bytes : 0);
        uint16_t owner = (uint16_t)(order + 100);

        assert_int_equal(frametable_claim(frame(pa), order, FRAME_GUEST, owner), 0);
        check_frame(pa, FRAME_GUEST, order, owner, pa);
        check_frame(pa + bytes - PAGE_SIZE, FRAME_GUEST, order, owner, pa);
        check_frame(pa + bytes / 2, FRAME_GUEST, order, owner, pa);
        assert_int_equal(frametable_claim(frame(pa), order, FRAME_GUEST, owner), -EBUSY);
        used += BIT(order);
        assert_int_equal(frametable_count(FRAME_GUEST), used);
        check_counts();
        frametable_unclaim(frame(pa), order);
        used -= BIT(order);
        check_frame(pa + bytes / 2, FRAME_NONE, 0, OWNER_NONE, pa + bytes / 2);
    }
    assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES);
    check_counts();
}

/* The count of sections in use per GiB has 16 bits and must come back to the same every time. */
static void test_claim_unclaim__many_times__count_per_gib_does_not_drift(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 300; i++) {
        unsigned int order = i % 2 == 0 ? MAX_ORDER : 3;

        assert_int_equal(frametable_claim(frame(GIB(5)), order, FRAME_GUEST, 1), 0);
        check_frame(GIB(5), FRAME_GUEST, order, 1, GIB(5));
        frametable_unclaim(frame(GIB(5)), order);
        check_frame(GIB(5), FRAME_NONE, 0, OWNER_NONE, GIB(5));
    }
    while (!buddy_open_step(1)) {
    }
    assert_int_equal(frametable_get(frame(GIB(5))).order, MAX_ORDER);
}

static void test_claim__conflicts_in_both_directions__ebusy_and_unchanged(void **state)
{
    (void)state;
    static const struct {
        paddr_t pa;
        unsigned int order;
        paddr_t pa2;
        unsigned int order2;
    } rows[] = {
        {GIB(2), 18, GIB(2) + MIB(555) + 0x3000, 0}, {GIB(2), 18, GIB(2) + MIB(2), 9},
        {GIB(2), 18, GIB(2) + MIB(512), 17},         {GIB(1) + MIB(8), 11, GIB(1), 12},
        {GIB(1) + 0x7000, 0, GIB(1), 9},             {GIB(1) + 0x7000, 0, GIB(1), 18},
        {GIB(1) + 0x7000, 0, GIB(1) + 0x4000, 2},    {GIB(1) + 0x4000, 2, GIB(1) + 0x7000, 0},
        {GIB(2) - MIB(2), 9, GIB(1), 18},            {GIB(2) - 0x1000, 0, GIB(2) - MIB(1), 8},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t left = boot_alloc_left();

        assert_int_equal(frametable_claim(frame(rows[i].pa), rows[i].order, FRAME_STREAM, 7), 0);
        uint64_t used = boot_alloc_left();
        assert_int_equal(frametable_claim(frame(rows[i].pa2), rows[i].order2, FRAME_GUEST, 8),
                         -EBUSY);
        assert_int_equal(boot_alloc_left(), used);
        check_frame(rows[i].pa, FRAME_STREAM, rows[i].order, 7, rows[i].pa);
        assert_int_equal(frametable_count(FRAME_GUEST), 0);
        check_counts();
        frametable_unclaim(frame(rows[i].pa), rows[i].order);
        assert_int_equal(boot_alloc_left(), left);
    }
}

static void test_claim__preserved_in_region__eperm(void **state)
{
    (void)state;
    static const enum frame_state preserved[] = {FRAME_GUEST, FRAME_STREAM, FRAME_MODULE,
                                                 FRAME_RECORDER};

    assert_int_equal(
        frametable_claim_range(frame(REGION), frame(REGION_END), FRAME_REGION, OWNER_NONE), 0);
    assert_int_equal(frametable_count(FRAME_REGION), (REGION_END - REGION) / PAGE_SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(preserved); i++) {
        assert_int_equal(frametable_claim(frame(REGION), 0, preserved[i], 1), -EPERM);
        assert_int_equal(frametable_claim(frame(REGION_END - MIB(2)), 9, preserved[i], 1), -EPERM);
        assert_int_equal(frametable_claim(frame(REGION), 13, preserved[i], 1), -EPERM);
        assert_int_equal(
            frametable_claim_range(frame(REGION - MIB(4)), frame(REGION + MIB(1)), preserved[i], 1),
            -EPERM);
        assert_int_equal(frametable_claim_range(frame(REGION_END - 0x1000),
                                                frame(REGION_END + MIB(1)), preserved[i], 1),
                         -EPERM);
    }
    assert_int_equal(frametable_claim(frame(REGION), 0, FRAME_BAD, 1), -EBUSY);
    assert_int_equal(frametable_count(FRAME_REGION), (REGION_END - REGION) / PAGE_SIZE);
    check_counts();
}

static void test_claim_range__any_bounds__largest_blocks(void **state)
{
    (void)state;
    mfn_t start = frame(MIB(70) - 0x1000);
    mfn_t end = frame(GIB(2) + MIB(5) + 0x3000);
    uint64_t left = boot_alloc_left();

    assert_int_equal(frametable_claim_range(start, end, FRAME_MODULE, 3), 0);
    assert_int_equal(frametable_count(FRAME_MODULE), end.v - start.v);
    /* Only the two ends need page entries. */
    assert_int_equal(left - boot_alloc_left(), 2 * PAGE_SIZE);
    assert_int_equal(frametable_split_preserved(), 2);
    check_frame(GIB(1) + MIB(300), FRAME_MODULE, 18, 3, GIB(1));
    check_frame(MIB(70), FRAME_MODULE, 9, 3, MIB(70));
    check_frame(GIB(2) + MIB(5) + 0x2000, FRAME_MODULE, 0, 3, GIB(2) + MIB(5) + 0x2000);
    check_counts();

    unsigned int blocks = 0;
    for (mfn_t pos = start; pos.v < end.v; blocks++) {
        struct frame_info info = frametable_get(pos);

        frametable_unclaim(pos, info.order);
        pos.v += BIT(info.order);
    }
    assert_in_range(blocks, 2, 40);
    assert_int_equal(boot_alloc_left(), left);
    assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES);
    assert_int_equal(frametable_split_preserved(), 0);
    check_counts();
}

static void test_claim_range__conflict_inside__nothing_changed(void **state)
{
    (void)state;
    paddr_t taken = GIB(2) + MIB(700) + 0x9000;

    assert_int_equal(frametable_claim(frame(taken), 0, FRAME_IMAGE, OWNER_NONE), 0);
    uint64_t left = boot_alloc_left();
    assert_int_equal(frametable_claim_range(frame(MIB(64) + 0x3000), frame(GIB(3)), FRAME_GUEST, 1),
                     -EBUSY);
    assert_int_equal(
        frametable_claim_range(frame(taken - 0x3000), frame(taken + 0x1000), FRAME_BAD, 1), -EBUSY);
    assert_int_equal(boot_alloc_left(), left);
    assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES - 1);
    check_frame(taken, FRAME_IMAGE, 0, OWNER_NONE, taken);
    check_counts();
}

static void test_claim__arena_empty__enomem_and_unchanged(void **state)
{
    (void)state;
    uint64_t left = boot_alloc_left();
    void *last = NULL;

    for (void *page; (page = pool_alloc_arena()) != NULL; last = page) {
    }
    assert_int_equal(left > 0, true);
    assert_int_equal(frametable_claim(frame(GIB(1)), 3, FRAME_GUEST, 1), -ENOMEM);
    assert_int_equal(frametable_claim_range(frame(GIB(1)), frame(GIB(2) + 0x1000), FRAME_GUEST, 1),
                     -ENOMEM);
    assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES);
    /* With one page: the first end of the range gets it, the second end fails, and it comes back.
     */
    assert_true(pool_free_arena(last));
    assert_int_equal(
        frametable_claim_range(frame(GIB(1) - 0x1000), frame(GIB(2) + 0x1000), FRAME_GUEST, 1),
        -ENOMEM);
    assert_int_equal(boot_alloc_left(), PAGE_SIZE);
    assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES);
    check_counts();
    /* Whole sections need none. */
    assert_int_equal(frametable_claim_range(frame(GIB(1)), frame(GIB(2) + MIB(2)), FRAME_GUEST, 1),
                     0);
    check_counts();
}

static void test_claim_range__bad_over_holes_and_bad_frames__only_ram_counts(void **state)
{
    (void)state;
    assert_int_equal(frametable_claim_range(frame(0x9e000), frame(0x101000), FRAME_BAD, OWNER_NONE),
                     0);
    assert_int_equal(frametable_count(FRAME_BAD), 2);
    assert_int_equal(frametable_claim_range(frame(GIB(3)), frame(GIB(4)), FRAME_BAD, OWNER_NONE),
                     0);
    assert_int_equal(frametable_claim_range(frame(RAM_END), frame(BIT(52)), FRAME_BAD, OWNER_NONE),
                     0);
    assert_int_equal(frametable_count(FRAME_BAD), 2);
    assert_int_equal(frametable_claim_range(frame(0), frame(MIB(8)), FRAME_BAD, OWNER_NONE), 0);
    assert_int_equal(frametable_count(FRAME_BAD), 0x9f + 0x700);
    assert_int_equal(frametable_claim_range(frame(MIB(2)), frame(MIB(4)), FRAME_BAD, OWNER_NONE),
                     0);
    assert_int_equal(frametable_count(FRAME_BAD), 0x9f + 0x700);
    /* Over everything there is, with one frame bad above 4 GiB before. */
    assert_int_equal(frametable_claim(frame(GIB(6) + 0x5000), 0, FRAME_BAD, OWNER_NONE), 0);
    assert_int_equal(frametable_claim_range(frame(0), frame(BIT(52)), FRAME_BAD, OWNER_NONE), 0);
    assert_int_equal(frametable_count(FRAME_BAD), PC_FRAMES);
    check_counts();
}

static void test_claim_range__region_with_bad_frames__they_stay_bad(void **state)
{
    (void)state;
    paddr_t bad[] = {REGION, REGION + 0x5000, REGION + MIB(7), REGION_END - 0x1000};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(frametable_claim(frame(bad[i]), 0, FRAME_BAD, OWNER_NONE), 0);
    }
    assert_int_equal(
        frametable_claim_range(frame(REGION), frame(REGION_END), FRAME_REGION, OWNER_NONE), 0);
    assert_int_equal(frametable_count(FRAME_REGION), (REGION_END - REGION) / PAGE_SIZE - 4);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        check_frame(bad[i], FRAME_BAD, 0, OWNER_NONE, bad[i]);
    }
    check_counts();
}

static void test_unclaim__not_exactly_a_block__panics(void **state)
{
    (void)state;
    assert_int_equal(frametable_claim(frame(GIB(1)), 10, FRAME_GUEST, 1), 0);
    assert_true(FAKE_PANICS(frametable_unclaim(frame(GIB(1)), 9)));
    setup(NULL);
    assert_int_equal(frametable_claim(frame(GIB(1)), 10, FRAME_GUEST, 1), 0);
    assert_true(FAKE_PANICS(frametable_unclaim(frame(GIB(1) + MIB(2)), 9)));
    setup(NULL);
    assert_true(FAKE_PANICS(frametable_unclaim(frame(GIB(1)), 0)));
    /* Where the heap is open nobody would come by to collect the frames. */
    setup(NULL);
    assert_int_equal(frametable_claim(frame(GIB(1)), 10, FRAME_GUEST, 1), 0);
    while (!buddy_open_step(64)) {
    }
    assert_true(FAKE_PANICS(frametable_unclaim(frame(GIB(1)), 10)));
}

/* Random claims and unclaims, compared frame by frame with a model of the low 96 MiB. */
#define MODEL_FRAMES (MIB(96) / PAGE_SIZE)

struct model_frame {
    uint32_t head;
    uint16_t owner;
    uint8_t state;
    uint8_t order;
};

static void model_set(struct model_frame *model, uint32_t head, unsigned int order,
                      struct model_frame with)
{
    for (uint32_t i = head; i < head + BIT(order); i++) {
        model[i] = with;
    }
}

static int model_claim(const struct model_frame *model, uint32_t head, unsigned int order,
                       enum frame_state state)
{
    int rc = 0;

    for (uint32_t i = head; i < head + BIT(order); i++) {
        if (!e820_is_ram(&map, (paddr_t)i * PAGE_SIZE, ((paddr_t)i + 1) * PAGE_SIZE)) {
            return -EINVAL;
        }
        if (model[i].state == FRAME_REGION && frame_state_preserved(state)) {
            rc = -EPERM;
        } else if (model[i].state != FRAME_NONE && rc == 0) {
            rc = -EBUSY;
        }
    }
    return rc;
}

static void model_compare(const struct model_frame *model)
{
    for (uint32_t i = 0; i < MODEL_FRAMES; i++) {
        struct frame_info info = frametable_get(mfn_from(i));

        if (info.state != model[i].state ||
            (info.state != FRAME_NONE &&
             (info.order != model[i].order || info.owner != model[i].owner ||
              info.head.v != model[i].head))) {
            fail_msg("frame 0x%x: state %u and not %u", i, info.state, model[i].state);
        }
    }
    check_counts();
}

static void test_claim_unclaim__random_trace__equal_to_model(void **state)
{
    (void)state;
    struct model_frame *model = malloc(MODEL_FRAMES * sizeof(*model));

    for (unsigned int seed = 0; seed < 4; seed++) {
        setup(NULL);
        fake_random_seed(seed);
        memset(model, 0, MODEL_FRAMES * sizeof(*model));
        uint64_t left = boot_alloc_left();
        for (unsigned int i = 0; i < 6000; i++) {
            unsigned int order = (unsigned int)(random_u64() % 12);
            uint32_t at = (uint32_t)(random_u64() % MODEL_FRAMES);

            if (random_u64() % 3 == 0 && model[at].state != FRAME_NONE) {
                struct model_frame m = model[at];

                frametable_unclaim(mfn_from(m.head), m.order);
                model_set(model, m.head, m.order, (struct model_frame){0});
                continue;
            }
            enum frame_state kind = FRAME_IMAGE + (unsigned int)(random_u64() % 7);
            uint16_t owner = (uint16_t)random_u64();
            at = (uint32_t)align_down(at, BIT(order));
            int want = model_claim(model, at, order, kind);
            assert_int_equal(frametable_claim(mfn_from(at), order, kind, owner), want);
            if (want == 0) {
                model_set(model, at, order,
                          (struct model_frame){at, owner, (uint8_t)kind, (uint8_t)order});
            }
        }
        model_compare(model);
        for (uint32_t i = 0; i < MODEL_FRAMES; i++) {
            if (model[i].state != FRAME_NONE && model[i].head == i) {
                frametable_unclaim(mfn_from(i), model[i].order);
            }
        }
        assert_int_equal(boot_alloc_left(), left);
        assert_int_equal(frametable_count(FRAME_NONE), PC_FRAMES);
        assert_int_equal(frametable_split_preserved(), 0);
    }
    free(model);
}

static void test_claim__100000_fragments__costs_their_sections_only(void **state)
{
    (void)state;
    uint64_t left = boot_alloc_left();

    for (uint64_t i = 0; i < 100000; i++) {
        enum frame_state kind = i % 2 == 0 ? FRAME_BAD : FRAME_GUEST;

        assert_int_equal(frametable_claim(mfn_from(frame(GIB(5)).v + 2 * i), 0, kind, 1), 0);
    }
    assert_int_equal(frametable_count(FRAME_BAD), 50000);
    uint64_t sections = (200000 + 511) / 512;
    assert_int_equal(frametable_split_preserved(), sections);
    assert_int_equal(left - boot_alloc_left(), sections * PAGE_SIZE);
    check_counts();
    while (!buddy_open_step(64)) {
    }
    assert_int_equal(buddy_free_frames(), PC_FRAMES - 100000);
    check_counts();
    for (uint64_t i = 1; i < 100000; i += 2) {
        buddy_free(mfn_from(frame(GIB(5)).v + 2 * i), 0);
    }
    assert_int_equal(buddy_free_frames(), PC_FRAMES - 50000);
    assert_int_equal(frametable_split_preserved(), 0);
    check_counts();
}

static void test_init__one_terabyte__8_mib_and_only_blocks_touched(void **state)
{
    (void)state;
    fake_machine_reset();
    fake_machine_add_ram(ARENA, ARENA_END);
    ranges[0] = (struct e820_range){0, GIB(1024), E820_RAM};
    struct e820 tera = {.ranges = ranges, .nr = 1};

    assert_in_range(frametable_bytes(GIB(1024)), MIB(8), MIB(8) + KIB(4));
    boot_alloc_init(ARENA, ARENA_END, true, fake_no_bad);
    uint64_t left = boot_alloc_left();
    assert_int_equal(frametable_init(&tera), 0);
    assert_int_equal(left - boot_alloc_left(), frametable_bytes(GIB(1024)));
    buddy_init();
    boot_alloc_finish();
    assert_int_equal(
        frametable_claim_range(frame(REGION), frame(REGION_END), FRAME_REGION, OWNER_NONE), 0);
    assert_int_equal(frametable_claim(frame(GIB(900) + 0x3000), 0, FRAME_BAD, OWNER_NONE), 0);
    for (unsigned int i = 1; i < 800; i++) {
        assert_int_equal(frametable_claim(frame(GIB(i)), ORDER_1G, FRAME_GUEST, 1), 0);
    }
    /* One entry per GiB, which are 8 KiB apart: as many pages, and a few around them. */
    assert_in_range(fake_machine_touched_pages(), 800, 815);
    unsigned int steps = 0;
    while (!buddy_open_step(16)) {
        steps++;
    }
    assert_in_range(fake_machine_touched_pages(), 1024, 1050);
    assert_in_range(steps, 14, 30);
    assert_int_equal(frametable_count(FRAME_NONE), 0);
    assert_int_equal(buddy_free_frames(),
                     (GIB(1024) - GIB(799) - (REGION_END - REGION)) / PAGE_SIZE - 1);
    uint64_t walked[FRAME_STATES];
    frametable_walk(walked);
    assert_int_equal(walked[FRAME_FREE], buddy_free_frames());
    assert_int_equal(walked[FRAME_BAD], 1);
}

static void test_init__arena_too_small__enomem(void **state)
{
    (void)state;
    boot_alloc_init(ARENA, ARENA + MIB(1), true, fake_no_bad);
    ranges[0] = (struct e820_range){0, GIB(1024), E820_RAM};
    struct e820 tera = {.ranges = ranges, .nr = 1};
    assert_int_equal(frametable_init(&tera), -ENOMEM);
    /* Nothing is in the table then; asking does no harm. */
    check_frame(GIB(1), FRAME_NONE, 0, OWNER_NONE, GIB(1));
}

static void test_get__outside_of_the_table__none(void **state)
{
    (void)state;
    check_frame(GIB(8), FRAME_NONE, 0, OWNER_NONE, GIB(8));
    check_frame(BIT(52), FRAME_NONE, 0, OWNER_NONE, BIT(52));
    assert_int_equal(frametable_get(INVALID_MFN).state, FRAME_NONE);
    assert_int_equal(frametable_count(FRAME_STATES), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_claim__bad_arguments__einval, setup),
        cmocka_unit_test_setup(test_claim__every_order__described_by_all_its_frames, setup),
        cmocka_unit_test_setup(test_claim_unclaim__many_times__count_per_gib_does_not_drift, setup),
        cmocka_unit_test_setup(test_claim__conflicts_in_both_directions__ebusy_and_unchanged,
                               setup),
        cmocka_unit_test_setup(test_claim__preserved_in_region__eperm, setup),
        cmocka_unit_test_setup(test_claim_range__any_bounds__largest_blocks, setup),
        cmocka_unit_test_setup(test_claim_range__conflict_inside__nothing_changed, setup),
        cmocka_unit_test_setup(test_claim__arena_empty__enomem_and_unchanged, setup),
        cmocka_unit_test_setup(test_claim_range__bad_over_holes_and_bad_frames__only_ram_counts,
                               setup),
        cmocka_unit_test_setup(test_claim_range__region_with_bad_frames__they_stay_bad, setup),
        cmocka_unit_test_setup(test_unclaim__not_exactly_a_block__panics, setup),
        cmocka_unit_test_setup(test_claim_unclaim__random_trace__equal_to_model, setup),
        cmocka_unit_test_setup(test_claim__100000_fragments__costs_their_sections_only, setup),
        cmocka_unit_test_setup(test_init__one_terabyte__8_mib_and_only_blocks_touched, setup),
        cmocka_unit_test_setup(test_init__arena_too_small__enomem, setup),
        cmocka_unit_test_setup(test_get__outside_of_the_table__none, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
