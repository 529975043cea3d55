/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mm/bulk.c: many blocks at once are the same blocks one by one.
 */
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/audit.h"
#include "hv/buddy.h"
#include "hv/errno.h"
#include "hv/frametable.h"
#include "hv/seam.h"

#define BLOCKS 700U
#define LOW_MFN 0x2a00U /* RAM up to 64 MiB lies there, without a hole */
#define LOW_FRAMES 0x1600U

static struct lu_extent blocks[BLOCKS];
static size_t nr;

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot_closed(0, true);
    return 0;
}

static void add(uint64_t mfn, unsigned int order)
{
    blocks[nr++] = (struct lu_extent){.gfn = 0, .mfn = mfn, .order = order};
}

/* Runs of neighbours, mostly small, which now and then go where they must not. */
static void make_list(unsigned int n, unsigned int evil)
{
    uint64_t mfn = LOW_MFN;

    nr = 0;
    while (nr < n && mfn < LOW_MFN + LOW_FRAMES - 1024) {
        unsigned int order = (unsigned int)(random_u64() % 12);

        order = order < 8 ? 0 : order < 11 ? order - 7 : 9;
        if (random_u64() % 16 == 0) {
            mfn += random_u64() % 700;
        }
        mfn = align_up(mfn, BIT(order));
        add(mfn, order);
        mfn += BIT(order);
        if (evil != 0 && random_u64() % evil == 0) {
            struct lu_extent *e = &blocks[random_u64() % nr];

            switch (random_u64() % 4) {
            case 0:
                add(e->mfn, e->order); /* again */
                break;
            case 1:
                add(e->mfn & ~UINT64_C(7), 3); /* around it */
                break;
            case 2:
                add(WORLD_REGION >> PAGE_SHIFT, 0);
                break;
            default:
                e->order++; /* misaligned, or over its neighbour */
                break;
            }
        }
    }
}

static void unclaim(size_t n)
{
    while (n > 0) {
        n--;
        frametable_unclaim(mfn_from(blocks[n].mfn), blocks[n].order);
    }
}

struct seen {
    uint64_t count[FRAME_STATES], walked[FRAME_STATES], split;
    struct frame_info frames[LOW_FRAMES];
};

static void look(struct seen *s)
{
    memset(s, 0, sizeof(*s));
    for (unsigned int i = 0; i < FRAME_STATES; i++) {
        s->count[i] = frametable_count(i);
    }
    frametable_walk(s->walked);
    s->split = frametable_split_preserved();
    for (uint64_t i = 0; i < LOW_FRAMES; i++) {
        struct frame_info f = frametable_get(mfn_from(LOW_MFN + i));

        s->frames[i].state = f.state;
        s->frames[i].order = f.order;
        s->frames[i].owner = f.owner;
        s->frames[i].head = f.head;
    }
}

static size_t one_by_one(uint16_t owner, int *rc)
{
    size_t n = 0;

    *rc = 0;
    while (n < nr && (*rc = frametable_claim(mfn_from(blocks[n].mfn), blocks[n].order, FRAME_GUEST,
                                             owner)) == 0) {
        n++;
    }
    return n;
}

static void test_claim_extents__random_lists__as_one_by_one(void **state)
{
    static struct seen before, single, bulk;

    (void)state;
    look(&before);
    for (unsigned int i = 0; i < 300; i++) {
        int rc, bulk_rc;

        make_list(1 + (unsigned int)(random_u64() % (BLOCKS - 10)), i % 3 == 0 ? 0 : 1 + i * 5);
        size_t n = one_by_one(7, &rc);
        look(&single);
        unclaim(n);
        size_t bulk_n = frametable_claim_extents(blocks, nr, 7, &bulk_rc);
        look(&bulk);
        if (bulk_n != n || bulk_rc != rc || memcmp(&single, &bulk, sizeof(bulk)) != 0) {
            fail_msg("%u: %zu of %zu claimed (%d), one by one %zu (%d)", i, bulk_n, nr, bulk_rc, n,
                     rc);
        }
        assert_memory_equal(bulk.count, bulk.walked, sizeof(bulk.count));
        unclaim(n);
        look(&single);
        assert_memory_equal(&before, &single, sizeof(before));
    }
}

/* Where RAM ends inside a section, and where the next section begins. */
static void test_claim_extents__up_to_the_end_of_ram__and_no_further(void **state)
{
    uint64_t end = WORLD_HIGH_END >> PAGE_SHIFT;
    int rc;

    (void)state;
    world_reset_low();
    fake_machine_add_ram(WORLD_HIGH, WORLD_HIGH + MIB(3));
    world_boot_closed(0, true);
    end = (WORLD_HIGH + MIB(3)) >> PAGE_SHIFT;
    nr = 0;
    for (uint64_t mfn = end - 600; nr < 604; mfn++) {
        add(mfn, 0);
    }
    assert_int_equal(frametable_claim_extents(blocks, nr, 7, &rc), 600);
    assert_int_equal(rc, -EINVAL);
    assert_int_equal(frametable_count(FRAME_GUEST), 600);
}

/* With frames of the heap around, and with blocks that are free. */
static void test_claim_extents__heap_is_open__nothing_free_is_taken(void **state)
{
    int rc;

    (void)state;
    nr = 0;
    for (uint64_t i = 0; i < 16; i++) {
        add(LOW_MFN + i, 0);
    }
    assert_int_equal(frametable_claim_extents(blocks, 8, 7, &rc), 8);
    while (!buddy_open_step(64)) {
    }
    assert_int_equal(frametable_claim_extents(blocks + 8, 8, 7, &rc), 0);
    assert_int_equal(rc, -EBUSY);
}

static void test_name_extents__each_once__counts_up_to_what_differs(void **state)
{
    int rc;

    (void)state;
    make_list(BLOCKS - 10, 0);
    assert_int_equal(frametable_claim_extents(blocks, nr, 7, &rc), nr);
    audit_forget_names();
    assert_int_equal(audit_name_extents(blocks, nr, 7), nr);
    assert_int_equal(audit_name_extents(blocks, nr, 7), 0); /* again */
    for (unsigned int i = 0; i < 200; i++) {
        size_t at = random_u64() % nr;
        struct lu_extent good = blocks[at];

        audit_forget_names();
        switch (i % 5) {
        case 0:
            blocks[at].order++;
            break;
        case 1:
            blocks[at].mfn = at > 0 ? blocks[at - 1].mfn : 0;
            blocks[at].order = at > 0 ? blocks[at - 1].order : 0;
            break;
        case 2:
            blocks[at].mfn = LOW_MFN + LOW_FRAMES + BIT(39);
            break;
        case 3:
            blocks[at].mfn += BIT(good.order) / 2 + 1;
            break;
        default:
            blocks[at].order = good.order == 0 ? 12 : 0;
            break;
        }
        size_t n = audit_name_extents(blocks, nr, 7);
        bool same = i % 5 == 3 && good.order == 0 && at + 1 < nr &&
                    blocks[at + 1].mfn == blocks[at].mfn && blocks[at + 1].order == 0;
        if (n != (same ? at + 1 : at)) { /* then the next one is named again */
            fail_msg("%u: %zu instead of %zu", i, n, at);
        }
        blocks[at] = good;
    }
    audit_forget_names();
    assert_int_equal(audit_name_extents(blocks, nr, 8), 0);
    assert_int_equal(audit_name_extents(blocks, nr, 7), nr);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_claim_extents__random_lists__as_one_by_one),
        TEST(test_claim_extents__up_to_the_end_of_ram__and_no_further),
        TEST(test_claim_extents__heap_is_open__nothing_free_is_taken),
        TEST(test_name_extents__each_once__counts_up_to_what_differs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
