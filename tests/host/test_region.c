/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lu/region.c: chosen cases, and random machines against a search page by page.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fakes/mb2_block.h"
#include "hv/cmdline.h"
#include "hv/errno.h"
#include "hv/region.h"

#define MAX_RANGES 12
#define MAX_MODULES 6

struct machine {
    const char *name;
    const char *cmdline;
    struct e820_range map[MAX_RANGES];
    struct {
        uint32_t start;
        uint32_t end;
    } modules[MAX_MODULES];
    paddr_t info_pa;
    paddr_t keep_start;
    paddr_t keep_end;
    int rc;
    paddr_t base;
    uint64_t size;
    const char *why;
};

static int find(const struct machine *m, struct lu_region *out, const char **why)
{
    static struct mb2_block b;
    struct boot_info info;
    size_t nr = 0;
    uint8_t *copy;
    int rc;

    while (nr < MAX_RANGES && m->map[nr].type != 0) {
        nr++;
    }
    block_begin(&b);
    block_string(&b, 1, m->cmdline);
    for (size_t i = 0; i < MAX_MODULES && m->modules[i].end != 0; i++) {
        block_module(&b, m->modules[i].start, m->modules[i].end, "");
    }
    block_mmap(&b, m->map, nr, 0);
    block_end(&b);
    copy = block_copy(&b, b.used);
    rc = mb2_parse(copy, b.used, &info, why);
    assert_int_equal(rc, 0);
    rc = region_find(&info, m->info_pa, m->keep_start, m->keep_end, out, why);
    free(copy);
    return rc;
}

#define RAM(start, end) \
    {                   \
        start, end, 1   \
    }
#define FW(start, end) \
    {                  \
        start, end, 2  \
    }
#define PC_LOW RAM(0, 0x9fc00), FW(0x9fc00, 0x100000)

static const struct machine cases[] = {
    /* No place given: as high as it goes. */
    {.name = "top of a 512 MiB machine",
     .cmdline = "liveupdate=64M",
     .map = {PC_LOW, RAM(MIB(1), MIB(512)), FW(0xfffc0000, GIB(4))},
     .base = MIB(448),
     .size = MIB(64)},
    {.name = "below the firmware's tail",
     .cmdline = "liveupdate=64M",
     .map = {PC_LOW, RAM(MIB(1), MIB(512) - 0x20000), FW(MIB(512) - 0x20000, MIB(512))},
     .base = MIB(446),
     .size = MIB(64)},
    {.name = "only below 4 GiB",
     .cmdline = "liveupdate=64M",
     .map = {PC_LOW, RAM(MIB(1), GIB(3)), FW(0xfffc0000, GIB(4)), RAM(GIB(4), GIB(64))},
     .base = GIB(3) - MIB(64),
     .size = MIB(64)},
    {.name = "RAM across 4 GiB",
     .cmdline = "liveupdate=64M",
     .map = {RAM(0, GIB(64))},
     .base = GIB(4) - MIB(64),
     .size = MIB(64)},
    {.name = "unsorted map in pieces",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(400), MIB(512)), RAM(MIB(1), MIB(300)), RAM(MIB(300), MIB(400)), PC_LOW},
     .base = MIB(448),
     .size = MIB(64)},
    {.name = "joined from neighbouring entries",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(480), MIB(512)), RAM(MIB(470), MIB(480)), RAM(MIB(1), MIB(475))},
     .base = MIB(448),
     .size = MIB(64)},
    {.name = "firmware inside RAM wins",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(512)), FW(MIB(500) + 17, MIB(500) + 18)},
     .base = MIB(436),
     .size = MIB(64)},
    {.name = "hole of one page between entries",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(500)), RAM(MIB(500) + 4096, MIB(512))},
     .base = MIB(436),
     .size = MIB(64)},
    {.name = "partial pages are no RAM",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(500) + 100), RAM(MIB(500) + 100, MIB(512))},
     .base = MIB(436),
     .size = MIB(64)},
    {.name = "below a module",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(512))},
     .modules = {{MIB(510), MIB(510) + 1}},
     .base = MIB(446),
     .size = MIB(64)},
    {.name = "between modules that do not leave room above",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(512))},
     .modules = {{MIB(420), MIB(421)}, {MIB(480), MIB(481)}, {MIB(300), MIB(301)}},
     .base = MIB(356),
     .size = MIB(64)},
    {.name = "below a bad page",
     .cmdline = "liveupdate=64M badpage=1d000,1f000-1f010 badpage=zz",
     .map = {RAM(MIB(1), MIB(512))},
     .base = MIB(400),
     .size = MIB(64)},
    {.name = "below the image and the boot information",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(512))},
     .keep_start = MIB(460),
     .keep_end = MIB(464),
     .info_pa = MIB(390),
     .base = MIB(396),
     .size = MIB(64)},
    {.name = "boot information counts as well",
     .cmdline = "liveupdate=64M",
     .map = {RAM(MIB(1), MIB(512))},
     .keep_start = MIB(460),
     .keep_end = MIB(464),
     .info_pa = MIB(400),
     .base = MIB(336),
     .size = MIB(64)},
    {.name = "smallest machine that has room",
     .cmdline = "liveupdate=8M",
     .map = {RAM(0, MIB(10))},
     .base = MIB(2),
     .size = MIB(8)},
    {.name = "nothing given: default size",
     .cmdline = "quiet",
     .map = {PC_LOW, RAM(MIB(1), MIB(512))},
     .base = MIB(496),
     .size = MIB(16)},
    {.name = "exactly as large as 4 GiB minus the low part",
     .cmdline = "liveupdate=4094M",
     .map = {RAM(0, GIB(8))},
     .base = MIB(2),
     .size = MIB(4094)},
    /* No place. */
    {.name = "too large",
     .cmdline = "liveupdate=512M",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -ENOSPC,
     .why = "no free range"},
    {.name = "only at address 0",
     .cmdline = "liveupdate=8M",
     .map = {RAM(0, MIB(9))},
     .rc = -ENOSPC,
     .why = "no free range"},
    {.name = "no RAM at all",
     .cmdline = "",
     .map = {FW(0, GIB(4))},
     .rc = -ENOSPC,
     .why = "no free range"},
    {.name = "empty and wrapping entries only",
     .cmdline = "liveupdate=8M",
     .map = {RAM(MIB(64), MIB(64)), RAM(MIB(64), MIB(32))},
     .rc = -ENOSPC,
     .why = "no free range"},
    /* A place given. */
    {.name = "exactly there",
     .cmdline = "liveupdate=64M@256M",
     .map = {RAM(MIB(1), MIB(512))},
     .base = MIB(256),
     .size = MIB(64)},
    {.name = "image and boot information may lie inside",
     .cmdline = "liveupdate=64M@256M",
     .map = {RAM(MIB(1), MIB(512))},
     .keep_start = MIB(256),
     .keep_end = MIB(300),
     .info_pa = MIB(310),
     .base = MIB(256),
     .size = MIB(64)},
    {.name = "a bad page inside is stepped over later",
     .cmdline = "liveupdate=64M@256M badpage=10001",
     .map = {RAM(MIB(1), MIB(512))},
     .base = MIB(256),
     .size = MIB(64)},
    {.name = "module next to it",
     .cmdline = "liveupdate=64M@256M",
     .map = {RAM(MIB(1), MIB(512))},
     .modules = {{MIB(255), MIB(256)}, {MIB(320), MIB(321)}},
     .base = MIB(256),
     .size = MIB(64)},
    {.name = "up to 4 GiB",
     .cmdline = "liveupdate=64M@4032M",
     .map = {RAM(0, GIB(5))},
     .base = MIB(4032),
     .size = MIB(64)},
    {.name = "bad handover page",
     .cmdline = "liveupdate=64M@256M badpage=10000",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "handover page"},
    {.name = "module inside",
     .cmdline = "liveupdate=64M@256M",
     .map = {RAM(MIB(1), MIB(512))},
     .modules = {{MIB(320) - 1, MIB(321)}},
     .rc = -EINVAL,
     .why = "module"},
    {.name = "base not aligned",
     .cmdline = "liveupdate=64M@257M",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "base is not"},
    {.name = "base below 1 MiB",
     .cmdline = "liveupdate=64M@1",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "base is not"},
    {.name = "above 4 GiB",
     .cmdline = "liveupdate=64M@4034M",
     .map = {RAM(0, GIB(5))},
     .rc = -EINVAL,
     .why = "above 4 GiB"},
    {.name = "far above 4 GiB",
     .cmdline = "liveupdate=64M@0xffffffffffe00000",
     .map = {RAM(0, BIT(52))},
     .rc = -EINVAL,
     .why = "above 4 GiB"},
    {.name = "not RAM at the end",
     .cmdline = "liveupdate=64M@450M",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "RAM"},
    {.name = "hole inside",
     .cmdline = "liveupdate=64M@256M",
     .map = {RAM(MIB(1), MIB(300)), RAM(MIB(301), MIB(512))},
     .rc = -EINVAL,
     .why = "RAM"},
    {.name = "size not aligned",
     .cmdline = "liveupdate=9M",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "size is not a multiple"},
    {.name = "size below the least",
     .cmdline = "liveupdate=6M",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "below 8 MiB"},
    {.name = "size 0",
     .cmdline = "liveupdate=0",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "below 8 MiB"},
    {.name = "size above 4 GiB",
     .cmdline = "liveupdate=1T@2M",
     .map = {RAM(0, GIB(4096))},
     .rc = -EINVAL,
     .why = "size is above"},
    {.name = "malformed",
     .cmdline = "liveupdate=64M@",
     .map = {RAM(MIB(1), MIB(512))},
     .rc = -EINVAL,
     .why = "SIZE[@BASE]"},
};

static void test_region_find__machines__place_or_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct machine *m = &cases[i];
        struct lu_region r = {.base = 7, .size = 7};
        const char *why = "";
        int rc = find(m, &r, &why);

        if (rc != m->rc || (rc == 0 && (r.base != m->base || r.size != m->size)) ||
            (rc != 0 && (strstr(why, m->why) == NULL || r.base != 7))) {
            fail_msg("%s: rc %d base 0x%lx size 0x%lx: %s", m->name, rc, r.base, r.size, why);
        }
    }
}

/* ---- random machines ---- */

#define PAGES_4G (GIB(4) >> PAGE_SHIFT)

static uint64_t rnd_state = 88172645463325252;

static uint64_t rnd(uint64_t below)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    rnd_state ^= rnd_state << 17;
    return (rnd_state >> 8) % below;
}

static void paint(uint8_t *free_page, paddr_t start, paddr_t end, bool shrink, uint8_t value)
{
    uint64_t first = shrink ? (start + 4095) >> PAGE_SHIFT : start >> PAGE_SHIFT;
    uint64_t last = shrink ? end >> PAGE_SHIFT : (end + 4095) >> PAGE_SHIFT;

    for (uint64_t i = first; i < MIN(last, PAGES_4G); i++) {
        free_page[i] = value;
    }
}

/* The highest 2 MiB-aligned run, by counting free pages downwards. */
static paddr_t by_pages(const uint8_t *free_page, uint64_t size)
{
    uint64_t run = 0;

    for (uint64_t i = PAGES_4G; i > MIB(1) >> PAGE_SHIFT; i--) {
        run = free_page[i - 1] != 0 ? run + 1 : 0;
        /* The run may have begun above the last place that fits: longer than needed will do. */
        if (run >= size >> PAGE_SHIFT && (i - 1) % 512 == 0) {
            return (i - 1) << PAGE_SHIFT;
        }
    }
    return 0;
}

static void random_machine(struct machine *m, char *line, size_t line_size, uint8_t *free_page)
{
    size_t nr = 2 + rnd(MAX_RANGES - 2);
    uint64_t bad = rnd(MIB(300) >> PAGE_SHIFT);
    size_t n;

    *m = (struct machine){.cmdline = line, .size = MIB(8) + MIB(2) * rnd(40)};
    n = (size_t)snprintf(line, line_size, "liveupdate=%luM", m->size >> 20);
    snprintf(line + n, line_size - n, " badpage=%lx,0x%lx-%lx", rnd(PAGES_4G), bad, bad + rnd(9));
    memset(free_page, 0, PAGES_4G);
    for (size_t i = 0; i < nr; i++) {
        paddr_t start = rnd(MIB(400));
        bool ram = rnd(4) != 0;

        m->map[i].start = ram && rnd(2) != 0 ? align_down(start, MIB(1)) : start;
        m->map[i].end = m->map[i].start + (ram ? rnd(MIB(300)) : rnd(MIB(4)));
        m->map[i].type = ram ? E820_RAM : 2 + (uint32_t)rnd(3);
        if (ram) {
            paint(free_page, m->map[i].start, m->map[i].end, true, 1);
        }
    }
    for (size_t i = 0; i < nr; i++) {
        if (m->map[i].type != E820_RAM && m->map[i].start < m->map[i].end) {
            paint(free_page, m->map[i].start, m->map[i].end, false, 0);
        }
    }
    for (size_t i = 0; i < rnd(MAX_MODULES); i++) {
        m->modules[i].start = (uint32_t)(i * MIB(100) + rnd(MIB(90)));
        m->modules[i].end = m->modules[i].start + 1 + (uint32_t)rnd(MIB(9));
        paint(free_page, m->modules[i].start, m->modules[i].end, false, 0);
    }
    m->keep_start = rnd(MIB(600));
    m->keep_end = m->keep_start + rnd(MIB(8));
    m->info_pa = rnd(MIB(600));
    paint(free_page, m->keep_start, m->keep_end, false, 0);
    paint(free_page, m->info_pa, m->info_pa + 8, false, 0);
    {
        struct str_span malformed;
        const char *cursor = line;
        mfn_t s;
        mfn_t e;

        while (cmdline_badpage_next(&cursor, &s, &e, &malformed) != 0) {
            paint(free_page, mfn_to_pa(s), mfn_to_pa(e), false, 0);
        }
    }
}

static void test_region_find__random_machines__agrees_with_a_search_by_pages(void **state)
{
    uint8_t *free_page = malloc(PAGES_4G);
    unsigned int found = 0;

    (void)state;
    assert_non_null(free_page);
    for (unsigned int round = 0; round < 300; round++) {
        struct lu_region r;
        struct machine m;
        char line[96];
        const char *why = "";
        paddr_t want;
        int rc;

        random_machine(&m, line, sizeof(line), free_page);
        /* The block's size is not known here: keep its page away from the others' edges. */
        m.info_pa = align_down(m.info_pa, PAGE_SIZE);
        want = by_pages(free_page, m.size);
        rc = find(&m, &r, &why);
        if (rc != (want != 0 ? 0 : -ENOSPC) || (rc == 0 && r.base != want)) {
            fail_msg("round %u: rc %d base 0x%lx instead of 0x%lx (%s)", round, rc, r.base, want,
                     why);
        }
        found += rc == 0;
    }
    assert_true(found > 50 && found < 300);
    free(free_page);
}

/* ---- the rest ---- */

static void test_region_default_size__ram_sizes__grows_and_is_aligned(void **state)
{
    uint64_t last = 0;

    (void)state;
    assert_int_equal(region_default_size(0), MIB(16));
    assert_int_equal(region_default_size(MIB(512)), MIB(16));
    for (paddr_t ram = MIB(1); ram <= BIT(46); ram *= 2) {
        uint64_t size = region_default_size(ram);

        assert_true(size >= MIB(16) && size >= last && size % REGION_ALIGN == 0);
        assert_true(size / 2 >= MIB(4) + ram / MIB(2) * 16);
        last = size;
    }
    /* 1 TiB: tens of megabytes, far from what 4 GiB can hold. */
    assert_true(region_default_size(GIB(1024)) <= MIB(64));
    assert_int_equal(region_default_size(UINT64_MAX) % REGION_ALIGN, 0);
}

static void test_region_arena__both__split_the_region_behind_the_handover_page(void **state)
{
    const struct lu_region r = {.base = MIB(32), .size = MIB(64)};

    (void)state;
    assert_int_equal(region_arena_start(&r, 0), MIB(32) + 4096);
    assert_int_equal(region_arena_end(&r, 0), MIB(64));
    assert_int_equal(region_arena_start(&r, 1), MIB(64));
    assert_int_equal(region_arena_end(&r, 1), MIB(96));
}

/* The size that is named has the room in both arenas, and no smaller one has. */
static void test_region_size_for__arenas__smallest_that_has_the_room(void **state)
{
    static const uint64_t needs[] = {
        0, 1, MIB(4) - 4096, MIB(4) - 4095, MIB(5), MIB(6) - 4096, MIB(6), GIB(2) - 4096};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        struct lu_region r = {.base = 0, .size = region_size_for(needs[i])};

        assert_int_equal(r.size % REGION_ALIGN, 0);
        assert_true(r.size >= REGION_MIN && r.size <= GIB(4));
        assert_true(region_arena_end(&r, 0) - region_arena_start(&r, 0) >= needs[i]);
        assert_true(region_arena_end(&r, 1) - region_arena_start(&r, 1) >= needs[i]);
        r.size -= REGION_ALIGN;
        assert_true(r.size < REGION_MIN ||
                    region_arena_end(&r, 0) - region_arena_start(&r, 0) < needs[i]);
    }
    assert_int_equal(region_size_for(GIB(2) - 4095), 0);
    assert_int_equal(region_size_for(UINT64_MAX), 0);
}

static void test_region_fit__bad_pages__first_run_between_them(void **state)
{
    const char *line = "badpage=12,15-16 badpage=20";
    static const struct {
        paddr_t start;
        paddr_t end;
        uint64_t bytes;
        paddr_t at;
    } fits[] = {
        {0x10000, 0x30000, 0x1000, 0x10000},  {0x10000, 0x30000, 0x2000, 0x10000},
        {0x10000, 0x30000, 0x2001, 0x17000},  {0x10001, 0x30000, 0x2000, 0x13000},
        {0x11000, 0x30000, 0x9000, 0x17000},  {0x11000, 0x30000, 0x9001, 0x21000},
        {0x10000, 0x30000, 0xf000, 0x21000},  {0x10000, 0x30000, 0xf001, 0},
        {0x10000, 0x30000, UINT64_MAX, 0},    {0x12000, 0x13000, 1, 0},
        {0x12000, 0x12000, 1, 0},             {0x14000, 0x13000, 1, 0},
        {0x13000, 0x15000, 0x2000, 0x13000},  {UINT64_MAX - 100, UINT64_MAX, 1, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fits); i++) {
        paddr_t at = region_fit(line, fits[i].start, fits[i].end, fits[i].bytes);

        if (at != fits[i].at) {
            fail_msg("case %zu: 0x%lx instead of 0x%lx", i, at, fits[i].at);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_region_find__machines__place_or_reason),
        cmocka_unit_test(test_region_find__random_machines__agrees_with_a_search_by_pages),
        cmocka_unit_test(test_region_default_size__ram_sizes__grows_and_is_aligned),
        cmocka_unit_test(test_region_arena__both__split_the_region_behind_the_handover_page),
        cmocka_unit_test(test_region_size_for__arenas__smallest_that_has_the_room),
        cmocka_unit_test(test_region_fit__bad_pages__first_run_between_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
