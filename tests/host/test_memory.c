/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of every frame: against a model with one entry per frame.
 */
#include "hv/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/mb2_block.h"
#include "fakes/seam.h"
#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/cmdline.h"
#include "hv/frametable.h"
#include "hv/region.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hv/vmap.h"

#define REGION MIB(16)
#define REGION_SIZE MIB(8)
#define FRAMES (MIB(256) >> PAGE_SHIFT)

static const struct lu_region region = {REGION, REGION_SIZE};
static struct mb2_block block;
static struct boot_info info;

/* The model. */
enum kind { NOTHING, RAM, FIRMWARE };
static uint8_t kind[FRAMES];
static bool bad[FRAMES];

static paddr_t bad_in_arena(paddr_t start, paddr_t end)
{
    return cmdline_bad_in_range(info.cmdline, start, end);
}

/* All of [0, 256 MiB) can be touched; what is RAM the map says. */
static void prepare(const char *cmdline, const struct e820_range *map, size_t nr)
{
    const char *why = "";

    fake_machine_reset();
    fake_seam_reset();
    fake_machine_add_ram(0, MIB(256));
    block_begin(&block);
    block_string(&block, 1, cmdline);
    block_mmap(&block, map, nr, 0);
    block_end(&block);
    if (mb2_parse(block.bytes, block.used, &info, &why) != 0) {
        fail_msg("%s", why);
    }
    slab_init();
    boot_alloc_init(region_arena_start(&region, 0), region_arena_end(&region, 0), false,
                    bad_in_arena);
}

static void boot(const char *cmdline, const struct e820_range *map, size_t nr)
{
    prepare(cmdline, map, nr);
    memory_init(&info, &region);
    assert_int_equal(vmap_init(), 0);
    boot_alloc_finish();
    while (!buddy_open_step(64)) {
    }
}

static void model_map(const struct e820_range *map, size_t nr)
{
    memset(kind, NOTHING, sizeof(kind));
    memset(bad, 0, sizeof(bad));
    for (size_t i = 0; i < nr; i++) { /* whole pages are RAM ... */
        if (map[i].type == E820_RAM) {
            for (uint64_t f = (map[i].start + PAGE_SIZE - 1) >> PAGE_SHIFT;
                 f < map[i].end >> PAGE_SHIFT; f++) {
                kind[f] = RAM;
            }
        }
    }
    for (size_t i = 0; i < nr; i++) { /* ... unless something else has a part in them */
        if (map[i].type != E820_RAM && map[i].end > map[i].start) {
            for (uint64_t f = map[i].start >> PAGE_SHIFT;
                 f < (map[i].end + PAGE_SIZE - 1) >> PAGE_SHIFT; f++) {
                kind[f] = FIRMWARE;
            }
        }
    }
}

static void model_bad(uint64_t first, uint64_t last)
{
    for (uint64_t f = first; f <= last && f < FRAMES; f++) {
        bad[f] = kind[f] == RAM;
    }
}

static void assert_account(void)
{
    uint64_t want[FRAME_STATES] = {0}, got[FRAME_STATES], ram = 0, firmware = 0;
    char text[200];

    for (uint64_t f = 0; f < FRAMES; f++) {
        bool in_region = f >= REGION >> PAGE_SHIFT && f < (REGION + REGION_SIZE) >> PAGE_SHIFT;

        ram += kind[f] == RAM;
        firmware += kind[f] == FIRMWARE;
        if (kind[f] == RAM) {
            want[bad[f]      ? FRAME_BAD
                 : in_region ? FRAME_REGION
                 : f == 0    ? FRAME_RESERVED
                             : FRAME_FREE]++;
        }
    }
    frametable_walk(got);
    /* Tables for split sections may lie in the heap. */
    want[FRAME_FREE] -= got[FRAME_IMAGE];
    want[FRAME_IMAGE] = got[FRAME_IMAGE];
    for (unsigned int s = 0; s < FRAME_STATES; s++) {
        if (got[s] != want[s]) {
            fail_msg("state %u: %llu frames, should be %llu", s, (unsigned long long)got[s],
                     (unsigned long long)want[s]);
        }
    }
    fake_log_clear();
    assert_true(memory_account());
    snprintf(text, sizeof(text),
             "memory: frames=%llu firmware=%llu bad=%llu reserved=%llu region=%llu preserved=0 "
             "heap=%llu next=0 free=%llu sum ok",
             (unsigned long long)(ram + firmware), (unsigned long long)firmware,
             (unsigned long long)want[FRAME_BAD], (unsigned long long)want[FRAME_RESERVED],
             (unsigned long long)want[FRAME_REGION], (unsigned long long)want[FRAME_IMAGE],
             (unsigned long long)want[FRAME_FREE]);
    if (!fake_printed(text)) {
        fail_msg("%s\n%s", text, fake_log());
    }
}

static const struct e820_range pc[] = {
    {0, 0x9fc00, E820_RAM},
    {0x9fc00, 0xa0000, 2},
    {0xf0000, 0x100000, 2},
    {0x100000, MIB(100) + 0x123, E820_RAM},
    {MIB(100) + 0x123, MIB(101), 3},
    {MIB(102), MIB(128) - 1, E820_RAM},
    {MIB(200), MIB(200) + 1, 2},
};

static void test_init__map_of_a_pc__sums(void **state)
{
    (void)state;
    boot("", pc, ARRAY_SIZE(pc));
    model_map(pc, ARRAY_SIZE(pc));
    assert_account();
}

static void test_init__frame_0_not_ram__nothing_reserved(void **state)
{
    static const struct e820_range map[] = {{0x1000, MIB(64), E820_RAM}};

    (void)state;
    boot("", map, 1);
    model_map(map, 1);
    assert_account();
    assert_int_equal(frametable_count(FRAME_RESERVED), 0);
}

static void test_init__bad_pages__wherever_they_are(void **state)
{
    static const struct {
        const char *cmdline;
        struct {
            uint64_t first, last;
        } pages[4];
    } rows[] = {
        {"badpage=300", {{0x300, 0x300}}},
        {"badpage=0x300-0x3ff,500", {{0x300, 0x3ff}, {0x500, 0x500}}},
        {"badpage=300 x badpage=300-301 badpage=2ff-300", {{0x2ff, 0x301}}}, /* doubled */
        {"badpage=ffff-10001 badpage=123456", {{0xffff, 0x10001}}},          /* outside RAM */
        {"badpage=60-120", {{0x60, 0x120}}},                                 /* over a hole */
        {"badpage=0", {{0, 0}}},
        {"badpage=1000", {{0x1000, 0x1000}}},               /* handover page of the region */
        {"badpage=1010-1020,1500,17ff", {{0x1010, 0x1020}, {0x1500, 0x1500}, {0x17ff, 0x17ff}}},
        {"badpage=200-3ff", {{0x200, 0x3ff}}},              /* a section */
        {"badpage=6400", {{0x6400, 0x6400}}},               /* a page that is partly RAM */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        model_map(pc, ARRAY_SIZE(pc));
        for (size_t k = 0; k < 4; k++) {
            if (rows[i].pages[k].last != 0 || i == 5) {
                model_bad(rows[i].pages[k].first, rows[i].pages[k].last);
            }
        }
        boot(rows[i].cmdline, pc, ARRAY_SIZE(pc));
        assert_account();
    }
}

static void test_init__malformed_badpage__said_and_ignored(void **state)
{
    (void)state;
    boot("badpage=xyz,300,400-3ff badpage=", pc, ARRAY_SIZE(pc));
    assert_true(fake_printed("badpage: \"xyz\" is no MFN"));
    assert_true(fake_printed("\"400-3ff\""));
    model_map(pc, ARRAY_SIZE(pc));
    model_bad(0x300, 0x300);
    assert_account();
}

/* Far more fragments than any fixed table has room for: RAM, holes, overlaps, odd bytes. */
static void test_init__many_fragments__sums(void **state)
{
    static struct e820_range map[1500];

    (void)state;
    for (unsigned int seed = 1; seed <= 3; seed++) {
        size_t nr = 0;

        fake_random_seed(seed);
        map[nr++] = (struct e820_range){REGION, REGION + REGION_SIZE, E820_RAM};
        while (nr < ARRAY_SIZE(map)) {
            uint64_t pages = FRAMES - (REGION + REGION_SIZE) / PAGE_SIZE - 64;
            uint64_t start = REGION + REGION_SIZE + random_u64() % (pages << PAGE_SHIFT);
            uint64_t bytes = random_u64() % (24 * PAGE_SIZE);
            uint32_t type = random_u64() % 4 == 0 ? 2 + (uint32_t)(random_u64() % 4) : E820_RAM;

            if (nr % 3 != 0) {
                start = align_down(start, PAGE_SIZE);
                bytes = align_up(bytes, PAGE_SIZE);
            }
            map[nr++] = (struct e820_range){start, start + bytes, type};
        }
        boot("badpage=2000-2040,3000,8000-8100", map, nr);
        assert_true(memory_map.nr > 512);
        model_map(map, nr);
        /* Partial pages of RAM that touch make whole ones: the model sees them byte by byte. */
        static uint8_t covered[PAGE_SIZE];
        for (uint64_t f = 0; f < FRAMES; f++) {
            size_t n = 0;

            if (kind[f] != NOTHING) {
                continue;
            }
            memset(covered, 0, sizeof(covered));
            for (size_t i = 0; i < nr; i++) {
                uint64_t a = MAX(map[i].start, f << PAGE_SHIFT);
                uint64_t b = MIN(map[i].end, (f + 1) << PAGE_SHIFT);

                for (; map[i].type == E820_RAM && a < b; a++) {
                    n += !covered[a % PAGE_SIZE];
                    covered[a % PAGE_SIZE] = 1;
                }
            }
            kind[f] = n == PAGE_SIZE ? RAM : NOTHING;
        }
        model_bad(0x2000, 0x2040);
        model_bad(0x3000, 0x3000);
        model_bad(0x8000, 0x8100);
        assert_account();
    }
}

static void test_init__region_not_ram__panics(void **state)
{
    static const struct e820_range map[] = {
        {0, MIB(16) + PAGE_SIZE * 900, E820_RAM}, {MIB(16) + PAGE_SIZE * 901, MIB(64), E820_RAM}};

    (void)state;
    prepare("", map, 2);
    assert_true(FAKE_PANICS(memory_init(&info, &region)));
    assert_true(fake_printed("panic: liveupdate: the region is not free memory"));
}

/* A frame that is gone from the account is noticed. */
static void test_account__frames_used_and_lost__sums_tell(void **state)
{
    (void)state;
    boot("", pc, ARRAY_SIZE(pc));
    mfn_t guest = buddy_alloc(3, FRAME_GUEST, 1);
    mfn_t stream = buddy_alloc(0, FRAME_STREAM, OWNER_NONE);
    mfn_t image = buddy_alloc(1, FRAME_IMAGE, OWNER_NONE);
    assert_true(mfn_valid(guest) && mfn_valid(stream) && mfn_valid(image));
    fake_log_clear();
    assert_true(memory_account());
    assert_true(fake_printed(" preserved=9 "));
    memory_map.ranges[0].end -= PAGE_SIZE; /* the map forgets a page */
    assert_false(memory_account());
    assert_true(fake_printed("sum WRONG"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init__map_of_a_pc__sums),
        cmocka_unit_test(test_init__frame_0_not_ram__nothing_reserved),
        cmocka_unit_test(test_init__bad_pages__wherever_they_are),
        cmocka_unit_test(test_init__malformed_badpage__said_and_ignored),
        cmocka_unit_test(test_init__many_fragments__sums),
        cmocka_unit_test(test_init__region_not_ram__panics),
        cmocka_unit_test(test_account__frames_used_and_lost__sums_tell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
