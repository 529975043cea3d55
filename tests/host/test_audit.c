/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit: worlds that are as they should be, and each structure damaged in turn. Which frame is
 * named, and are both views of it?
 *
 * lu/update.c is included: a world begins without its state.
 */
#include "../../lu/update.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../mm/frametable_priv.h"
#include "hv/nested.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/audit.h"
#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/modules.h"
#include "hv/seam.h"
#include "hv/slab.h"
#include "hw/vmx.h"

#define ULL(x) ((unsigned long long)(x))

/* ---- a backend with real tables ---- */

static void nothing(const struct nested *ept)
{
    (void)ept;
}

static int tables_init(struct domain *d)
{
    d->stage2 = kzalloc(sizeof(struct nested));
    return d->stage2 != NULL ? nested_init(d->stage2, ORDER_2M, EPT_MEMTYPE_WB, nothing) : -ENOMEM;
}

static void tables_fini(struct domain *d)
{
    nested_fini(d->stage2);
    kfree(d->stage2);
}

static uint64_t tables_walk(struct domain *d, const struct hvm_walk *walk)
{
    return nested_walk(d->stage2, walk);
}

static struct hvm_ops ops;

/* Every domain's memory is mapped, as if the guests had been all over it. */
static void map_all(void)
{
    for_each_domain(d) {
        uint64_t end = domain_memory_end(d->memory_bytes) >> PAGE_SHIFT;

        for (uint64_t gfn = 0; gfn < end;) {
            mfn_t mfn;
            int order = extent_map_leaf(&d->extents, gfn_from(gfn), ORDER_2M, &mfn);

            assert_true(order >= 0);
            assert_int_equal(nested_map(d->stage2, gfn_from(gfn), mfn, (unsigned int)order), 0);
            gfn += BIT((unsigned int)order);
        }
    }
}

/* RAM without an image, and nothing left of the last one. */
static void empty_world(void)
{
    writer = (struct stream_writer){.error = 0};
    stream_stage = STREAM_NONE;
    world_reset();
}

/* Domains, modules, nested tables, a stream that is being written. */
static void busy_world(void)
{
    empty_world();
    world_boot(0, true);
    ops = fake_hvm_ops;
    ops.domain_init = tables_init;
    ops.domain_fini = tables_fini;
    ops.walk = tables_walk;
    hvm = &ops;
    world_sample(false);
    map_all();
    lu.loaded.stream_version = LU_STREAM_VERSION;
    update_prepare();
}

static int setup(void **state)
{
    (void)state;
    busy_world();
    return 0;
}

/* The damage goes with the world: nothing of it is used again. */
static int teardown(void **state)
{
    (void)state;
    empty_world();
    world_boot(0, false);
    return 0;
}

static void assert_ok(void)
{
    struct hc_audit found;

    if (audit_run(&found) != 0) {
        fail_msg("mfn 0x%llx: %s", ULL(found.mfn), found.text);
    }
    assert_int_equal(found.mismatches, 0);
    assert_string_equal(found.text, "");
    assert_int_equal(found.frames, e820_ram_frames(&frametable.map));
}

/* ---- as it should be ---- */

static void test_audit__sane_worlds__ok(void **state)
{
    (void)state;
    empty_world();
    world_boot_closed(0, true);
    assert_ok();
    empty_world();
    world_boot(1, false);
    assert_ok();
    world_sample(false);
    assert_ok();
    busy_world();
    assert_ok();
    assert_ok(); /* nothing is left of the first one */
    update_forget();
    assert_ok();
}

static void test_audit__heap_opens_in_slices__ok_in_between(void **state)
{
    (void)state;
    empty_world();
    world_boot_closed(0, true);
    do {
        assert_ok();
    } while (!buddy_open_step(1));
    assert_ok();
}

static void test_audit__random_allocations__ok_all_the_time(void **state)
{
    static struct {
        mfn_t mfn;
        unsigned int order;
    } blocks[400];

    (void)state;
    for (unsigned int i = 0; i < 4000; i++) {
        unsigned int at = (unsigned int)(random_u64() % ARRAY_SIZE(blocks));
        unsigned int order = (unsigned int)(random_u64() % 12);

        if (blocks[at].mfn.v != 0) {
            buddy_free(blocks[at].mfn, blocks[at].order);
            blocks[at].mfn.v = 0;
        } else {
            mfn_t mfn = buddy_alloc(order, FRAME_IMAGE, OWNER_NONE);

            if (mfn_valid(mfn)) {
                blocks[at].mfn = mfn;
                blocks[at].order = order;
            }
        }
        if (i % 16 == 0) {
            assert_ok();
        }
    }
}

/* All free memory taken page by page, every other one given back: what comes now is in pieces. */
static void fragment(void)
{
    mfn_t kept = INVALID_MFN, mfn;

    while (mfn_valid(mfn = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE))) {
        *(mfn_t *)mfn_to_va(mfn) = kept;
        kept = mfn;
    }
    for (unsigned int i = 0; mfn_valid(kept); i++, kept = mfn) {
        mfn = *(mfn_t *)mfn_to_va(kept);
        if (i % 2 == 0) {
            buddy_free(kept, 0);
        }
    }
}

/* Memory that is being added, dropped again, and a domain that is being taken apart. */
static void test_audit__domains_that_come_and_go__ok_in_between(void **state)
{
    unsigned int slices = 0;
    struct domain *d;

    (void)state;
    fragment();
    assert_ok();
    d = domain_create("grows", 20, false);
    assert_non_null(d);
    d->state = DOMAIN_NEW;
    for (; domain_grow(d, MIB(8)) == DOMAIN_AGAIN; slices++) {
        assert_ok();
    }
    assert_true(slices > 3);
    assert_ok();
    assert_int_equal(domain_grow(d, MIB(4)), DOMAIN_AGAIN);
    domain_settle();
    while (d->growth.phase != GROWTH_NONE) {
        assert_true(domain_reap());
        assert_ok();
    }
    for (slices = 0; domain_find(20) != NULL; slices++) {
        if (slices == 0) {
            domain_doom(d);
        }
        assert_true(domain_reap());
        assert_ok();
    }
    assert_true(slices > 3);
}

static void test_audit_print__ok_or_not__a_line_for_programs(void **state)
{
    struct hc_audit found;
    char line[64];

    (void)state;
    fake_log_clear();
    assert_int_equal(audit_print(&found), 0);
    snprintf(line, sizeof(line), "audit: ok frames=%llu\n", ULL(found.frames));
    assert_true(fake_printed(line));
    frametable.count[FRAME_IMAGE]++;
    assert_int_equal(audit_print(&found), -EBADMSG);
    assert_int_equal(found.mfn, INVALID_MFN_X);
    assert_true(fake_printed("audit: MISMATCH n=1 counters: "));
    frametable.count[FRAME_IMAGE]--;
    struct extent *e = &domain_list->extents.items[3];
    e->mfn.v ^= 1;
    assert_int_equal(audit_print(&found), -EBADMSG);
    snprintf(line, sizeof(line),
             "audit: MISMATCH n=%llu mfn 0x%llx: frametable: ", ULL(found.mismatches),
             ULL(found.mfn));
    assert_true(fake_printed(line));
}

/* ---- damaged ---- */

static struct domain *sample(const char *name)
{
    for_each_domain(d) {
        if (strcmp(d->name, name) == 0) {
            return d;
        }
    }
    fail_msg("no domain %s", name);
    return NULL;
}

/* Some extent below a section, and not at its start. */
static struct extent *small_extent(struct domain *d, unsigned int order)
{
    for (size_t i = 1; i < d->extents.nr; i++) {
        if (d->extents.items[i].order == order && d->extents.items[i].mfn.v % SECTION_FRAMES != 0) {
            return &d->extents.items[i];
        }
    }
    fail_msg("no extent of order %u", order);
    return NULL;
}

static struct page_entry *entry_of(mfn_t mfn)
{
    struct section *e = &frametable.sections[mfn_section(mfn)];

    assert_int_equal(e->state, SECTION_SPLIT);
    return &e->split->pages[mfn_in_section(mfn)];
}

/* A block of this state that the frametable has, of at least a section or smaller. */
static mfn_t some_block(enum frame_state state, unsigned int min_order, unsigned int max_order)
{
    for (uint64_t pos = MIB(2) >> PAGE_SHIFT; pos < WORLD_HIGH_END >> PAGE_SHIFT;) {
        struct frame_info f = frametable_block_locked(mfn_from(pos));

        if (f.state == state && f.order >= min_order && f.order <= max_order) {
            return f.head;
        }
        pos = f.head.v + BIT(f.order);
    }
    fail_msg("no block of state %d", state);
    return INVALID_MFN;
}

static char want[200];

#define WANT(...) (void)snprintf(want, sizeof(want), __VA_ARGS__)

static mfn_t owner_of_a_guest_frame(void)
{
    struct extent *e = small_extent(sample("control"), 2);

    entry_of(e->mfn)->owner = 9;
    WANT("frametable: GUEST of 9 order 2; extents: domain 1 gfn 0x%llx order 2", ULL(e->gfn.v));
    return e->mfn;
}

static mfn_t state_of_a_guest_frame(void)
{
    struct extent *e = small_extent(sample("control"), 1);

    entry_of(e->mfn)->state = FRAME_IMAGE;
    WANT("frametable: IMAGE of 1 order 1; extents: domain 1 gfn 0x%llx order 1", ULL(e->gfn.v));
    return e->mfn;
}

static mfn_t order_of_a_guest_frame(void)
{
    struct extent *e = small_extent(sample("control"), 3);

    entry_of(e->mfn)->order = 2;
    WANT("frametable: GUEST of 1 order 2; extents: domain 1 gfn 0x%llx order 3", ULL(e->gfn.v));
    return e->mfn;
}

static mfn_t block_that_reaches_over_another(void)
{
    mfn_t head = small_extent(sample("control"), 0)->mfn;
    struct frame_info f;

    head.v &= ~UINT64_C(1);
    f = frametable_block_locked(mfn_from(head.v + 1));
    while (entry_of(head)->state != FRAME_GUEST || f.state != FRAME_GUEST ||
           frametable_block_locked(head).order != 0) {
        head.v += 2;
        f = frametable_block_locked(mfn_from(head.v + 1));
    }
    entry_of(head)->order = 1;
    WANT("frametable: GUEST of %u order 0; frametable: inside another block", f.owner);
    return mfn_from(head.v + 1);
}

static mfn_t order_that_cannot_be(void)
{
    struct extent *e = small_extent(sample("control"), 0);

    entry_of(e->mfn)->order = 200;
    WANT("frametable: state %u order 200; there is no such block here", FRAME_GUEST);
    return e->mfn;
}

static mfn_t section_that_cannot_be(void)
{
    mfn_t mfn = sample("big")->extents.items[0].mfn;

    frametable.sections[mfn_section(mfn)].state = 77;
    WANT("frametable: state 77 order %u; there is no such block here",
         sample("big")->extents.items[0].order);
    return mfn;
}

static mfn_t table_of_pieces_elsewhere(uintptr_t at)
{
    mfn_t mfn = small_extent(sample("control"), 0)->mfn;

    frametable.sections[mfn_section(mfn)].split = (struct split *)at;
    WANT("frametable: in pieces; the table of them is no page of this image");
    return section_mfn(mfn_section(mfn));
}

static mfn_t table_of_pieces_nowhere(void)
{
    return table_of_pieces_elsewhere(0x123456789a000);
}

static mfn_t table_of_pieces_not_aligned(void)
{
    return table_of_pieces_elsewhere((uintptr_t)fake_va(MIB(2)) + 8);
}

static mfn_t table_of_pieces_in_the_other_arena(void)
{
    return table_of_pieces_elsewhere((uintptr_t)fake_va(WORLD_REGION_END - PAGE_SIZE));
}

static mfn_t extent_twice(void)
{
    struct domain *d = sample("control");
    struct extent *e = small_extent(d, 1), *other = e;

    do {
        other++;
        assert_true(other < d->extents.items + d->extents.nr);
    } while (other->order != 1);
    other->mfn = e->mfn;
    WANT("frametable: GUEST of 1 order 1; extents: domain 1 gfn 0x%llx order 1, and somebody else",
         ULL(other->gfn.v));
    return e->mfn;
}

static mfn_t extent_of_another_domain(void)
{
    struct extent *e = small_extent(sample("control"), 2), *mine = small_extent(sample("done"), 2);

    mine->mfn = e->mfn;
    WANT("frametable: GUEST of 1 order 2; extents: domain 2 gfn 0x%llx order 2", ULL(mine->gfn.v));
    return e->mfn;
}

static mfn_t extent_to_free_memory(void)
{
    struct extent *e = small_extent(sample("control"), 0);

    e->mfn = some_block(FRAME_FREE, ORDER_2M, MAX_ORDER);
    WANT("frametable: FREE order %u; extents: domain 1 gfn 0x%llx order 0",
         frametable_block_locked(e->mfn).order, ULL(e->gfn.v));
    return e->mfn;
}

static mfn_t extent_to_no_memory(void)
{
    struct extent *e = small_extent(sample("control"), 0);

    e->mfn.v = BIT(60) + 1;
    WANT("frametable: NONE order 0; extents: domain 1 gfn 0x%llx order 0", ULL(e->gfn.v));
    return e->mfn;
}

static mfn_t extent_without_order(void)
{
    struct extent *e = small_extent(sample("control"), 0);

    e->order = 99;
    WANT("frametable: GUEST of 1 order 0; extents: domain 1 gfn 0x%llx order 99", ULL(e->gfn.v));
    return e->mfn;
}

static mfn_t extents_out_of_order(void)
{
    struct domain *d = sample("control");
    size_t i = d->extents.nr / 2;
    struct extent *e = &d->extents.items[i];

    d->extents.items[i - 1].gfn.v += BIT(18);
    WANT("frametable: GUEST of 1 order %u; extents: domain 1 gfn 0x%llx order %u, not in order",
         e->order, ULL(e->gfn.v), e->order);
    return e->mfn;
}

static mfn_t lost_extent(void)
{
    struct domain *d = sample("control");
    struct extent e = extent_map_pop(&d->extents);

    d->memory_bytes -= PAGE_SIZE << e.order;
    nested_clear(d->stage2);
    WANT("frametable: GUEST of 1 order %u; extents: no domain's", e.order);
    return e.mfn;
}

static mfn_t lost_large_extent(void)
{
    struct domain *d = sample("big");
    struct extent e = d->extents.items[0];

    assert_true(e.order >= ORDER_2M);
    memmove(&d->extents.items[0], &d->extents.items[1], --d->extents.nr * sizeof(e));
    d->memory_bytes -= PAGE_SIZE << e.order;
    nested_clear(d->stage2);
    WANT("frametable: GUEST of 9 order %u; extents: no domain's", e.order);
    return e.mfn;
}

static mfn_t extents_without_room(void)
{
    struct domain *d = sample("control");

    d->extents.nr = d->extents.capacity + 1;
    WANT("; extents: no domain's"); /* it is not asked */
    return INVALID_MFN;
}

static mfn_t memory_of_another_size(void)
{
    struct domain *d = sample("control");

    d->memory_bytes += PAGE_SIZE;
    WANT("domain 1: %llu bytes; extents: 777 frames", ULL(d->memory_bytes));
    return INVALID_MFN;
}

/* ---- nested tables ---- */

/* The entry of `level` that leads to a gfn, walked by hand. */
static uint64_t *ept_entry(const struct domain *d, uint64_t gfn, unsigned int level)
{
    const struct nested *ept = d->stage2;
    uint64_t *table = ept->root;

    for (unsigned int l = 3; l > level; l--) {
        table = mfn_to_va(pa_to_mfn(table[(gfn >> (9 * l)) & 511] & EPT_ADDR));
    }
    return &table[(gfn >> (9 * level)) & 511];
}

static mfn_t leaf_to_a_foreign_frame(void)
{
    struct extent *e = small_extent(sample("control"), 0), *other = small_extent(sample("done"), 0);
    uint64_t *entry = ept_entry(sample("control"), e->gfn.v, 0);

    *entry = (*entry & ~EPT_ADDR) | mfn_to_pa(other->mfn);
    WANT("frametable: GUEST of 2 order 0; nested tables: domain 1 gfn 0x%llx order 0; extents: mfn "
         "0x%llx order 0",
         ULL(e->gfn.v), ULL(e->mfn.v));
    return other->mfn;
}

static mfn_t leaf_that_is_too_large(void)
{
    struct domain *d = sample("control");
    struct extent *e = &d->extents.items[0];

    *ept_entry(d, 0, 1) = *ept_entry(d, 0, 0) | EPT_LEAF;
    WANT("frametable: GUEST of 1 order %u; nested tables: domain 1 gfn 0x0 order 9; extents: mfn "
         "0x%llx order %u",
         e->order, ULL(e->mfn.v), e->order);
    return e->mfn;
}

static mfn_t leaf_without_extent(void)
{
    mfn_t mfn = some_block(FRAME_BAD, 0, 0);

    assert_int_equal(nested_map(sample("control")->stage2, gfn_from(0x5555), mfn, 0), 0);
    WANT("frametable: BAD order 0; nested tables: domain 1 gfn 0x5555 order 0; extents: none");
    return mfn;
}

static mfn_t table_in_guest_memory(void)
{
    struct domain *d = sample("control");
    struct extent *e = small_extent(d, 0);
    uint64_t *entry = ept_entry(d, 0, 1);

    *entry = (*entry & ~EPT_ADDR) | mfn_to_pa(e->mfn);
    WANT("frametable: GUEST of 1 order 0; nested tables: domain 1, a table");
    return e->mfn;
}

/* Tables in the heap, once the arena is full. */
static void fill_arena(void)
{
    while (pool_alloc_arena() != NULL) {
    }
}

static mfn_t table_of_two_domains(void)
{
    struct domain *d = sample("control"), *other = sample("done");
    uint64_t *entry = ept_entry(other, 0, 1), *mine;

    nested_clear(d->stage2);
    fill_arena();
    map_all();
    mine = ept_entry(d, 0, 1);
    *entry = *mine;
    WANT("frametable: IMAGE order 0; nested tables: domain 2, a table, and somebody else");
    return pa_to_mfn(*mine & EPT_ADDR);
}

/* Each entry of each table leads on to another table: 512 * 512 * 512 of them, by three pages. */
static mfn_t tables_without_end(void)
{
    struct domain *d = sample("control");

    for (unsigned int level = 3; level > 0; level--) {
        uint64_t *table = ept_entry(d, 0, level);

        for (unsigned int i = 1; i < 512; i++) {
            table[i] = table[0];
        }
    }
    WANT("; nested tables: domain 1");
    return INVALID_MFN;
}

static mfn_t tables_not_counted(void)
{
    struct nested *ept = sample("control")->stage2;

    ept->tables += 5;
    WANT("nested tables: domain 1 counts %llu pages; there are %llu", ULL(ept->tables),
         ULL(ept->tables - 5));
    return INVALID_MFN;
}

/* ---- heap ---- */

static struct links *links(uint32_t section)
{
    struct section *e = &frametable.sections[section];

    return e->state == SECTION_SPLIT ? &e->split->links : &e->links;
}

/* A free list of whole sections with two blocks at least; the second one. */
static uint32_t second_free(unsigned int *list)
{
    bool nonempty;

    for (*list = ORDER_2M; *list <= MAX_ORDER; (*list)++) {
        uint32_t first = buddy_list_locked(*list, &nonempty);

        if (first != NO_SECTION && links(first)->next != NO_SECTION) {
            return links(first)->next;
        }
    }
    fail_msg("no free list is long enough");
    return NO_SECTION;
}

static mfn_t free_link_to_used_memory(void)
{
    struct extent *e = &sample("big")->extents.items[0];
    unsigned int list;
    uint32_t second = second_free(&list);

    links(links(second)->prev)->next = mfn_section(e->mfn);
    WANT("frametable: GUEST of 9 order %u; free list %u: in it", e->order, list);
    return e->mfn;
}

static mfn_t free_link_out_of_the_table(void)
{
    unsigned int list;
    uint32_t second = second_free(&list);

    links(second)->next = 0x7fffffff;
    WANT("free list %u: leads to section 0x7fffffff; there are 0x%x", list, frametable.nr_sections);
    return section_mfn(second);
}

static mfn_t free_link_back(void)
{
    unsigned int list;
    uint32_t second = second_free(&list), prev = links(second)->prev;

    links(second)->prev = 3;
    WANT("frametable: FREE order %u; free list %u: behind section 0x%x, not 0x3", list, list, prev);
    return section_mfn(second);
}

static mfn_t free_list_in_a_circle(void)
{
    unsigned int list;
    uint32_t second = second_free(&list), first = links(second)->prev;

    links(second)->next = first;
    WANT("frametable: FREE order %u; free list %u: behind section 0x%x, not 0x%x", list, list,
         second, NO_SECTION);
    return section_mfn(first);
}

static mfn_t free_block_in_no_list(void)
{
    unsigned int list;
    uint32_t second = second_free(&list);

    links(links(second)->prev)->next = links(second)->next;
    if (links(second)->next != NO_SECTION) {
        links(links(second)->next)->prev = links(second)->prev;
    }
    WANT("frametable: FREE order %u; free lists: in none", list);
    return section_mfn(second);
}

static mfn_t free_block_split_in_two(void)
{
    mfn_t mfn = some_block(FRAME_FREE, ORDER_2M + 1, MAX_ORDER);
    struct section *e = &frametable.sections[mfn_section(mfn)];
    unsigned int half = e->order - 1U;

    e->order = (uint8_t)half;
    frametable.sections[mfn_section(mfn) + (1U << (half - ORDER_2M))] = *e;
    WANT("frametable: FREE order %u; heap: its buddy is free too", half);
    return mfn;
}

static struct split *split_with_free(mfn_t *mfn, unsigned int order)
{
    *mfn = some_block(FRAME_FREE, order, order);
    return frametable.sections[mfn_section(*mfn)].split;
}

static mfn_t free_piece_in_two_halves(void)
{
    mfn_t mfn;
    struct split *split = split_with_free(&mfn, 3);

    free_map_clear(split, free_map_bit(mfn_in_section(mfn), 3));
    free_map_set(split, free_map_bit(mfn_in_section(mfn), 2));
    free_map_set(split, free_map_bit(mfn_in_section(mfn) + 4, 2));
    WANT("frametable: FREE order 2; heap: its buddy is free too");
    return mfn;
}

static mfn_t free_and_used(void)
{
    struct extent *e = small_extent(sample("control"), 0);
    struct split *split = frametable.sections[mfn_section(e->mfn)].split;

    free_map_set(split, free_map_bit(mfn_in_section(e->mfn), 0));
    WANT("frametable: GUEST of 1 order 0; free map: FREE order 0");
    return e->mfn;
}

static mfn_t free_piece_forgotten(void)
{
    mfn_t mfn;
    struct split *split = split_with_free(&mfn, 2);

    free_map_clear(split, free_map_bit(mfn_in_section(mfn), 2));
    WANT("frametable: NONE order 0; heap: open here, and it is not there");
    return mfn;
}

static mfn_t section_forgotten(void)
{
    unsigned int list;
    mfn_t mfn = section_mfn(second_free(&list));

    frametable.sections[mfn_section(mfn)].state = FRAME_NONE;
    WANT("frametable: NONE order 9; free list %u: in it", list);
    return mfn;
}

static mfn_t free_count_of_a_section(void)
{
    mfn_t mfn;
    struct split *split = split_with_free(&mfn, 2);

    split->free++;
    WANT("section 0x%x: counts %u free, in list %u; its free map: %u, list %u", mfn_section(mfn),
         split->free, split->list, split->free - 1U, split->list);
    return INVALID_MFN;
}

static mfn_t used_count_of_a_section(void)
{
    mfn_t mfn = small_extent(sample("control"), 0)->mfn;
    struct split *split = frametable.sections[mfn_section(mfn)].split;

    split->used--;
    WANT("section 0x%x: counts %u used, %u preserved; its blocks: %u and %u", mfn_section(mfn),
         split->used, split->preserved, split->used + 1U, split->preserved);
    return INVALID_MFN;
}

static mfn_t sections_of_a_gib(void)
{
    frametable.gib_used[4] ^= 0x20;
    WANT("GiB 4: counts %u sections; its entries: %u", frametable.gib_used[4],
         frametable.gib_used[4] ^ 0x20U);
    return INVALID_MFN;
}

static mfn_t counter(void)
{
    frametable.count[FRAME_GUEST] -= 3;
    WANT("counters: %llu frames GUEST; frametable: %llu", ULL(frametable.count[FRAME_GUEST]),
         ULL(frametable.count[FRAME_GUEST] + 3));
    return INVALID_MFN;
}

static mfn_t counter_of_split_sections(void)
{
    frametable.split_preserved++;
    WANT("counters: %llu sections with small preserved blocks; frametable: %llu",
         ULL(frametable.split_preserved), ULL(frametable.split_preserved - 1));
    return INVALID_MFN;
}

static mfn_t block_beyond_ram(void)
{
    mfn_t mfn = mfn_from(MIB(64) >> PAGE_SHIFT);

    frametable.sections[mfn_section(mfn)] =
        (struct section){.state = FRAME_GUEST, .order = ORDER_2M, .owner = 1};
    frametable.gib_used[0]++;
    WANT("frametable: GUEST of 1 order 9; memory map: not all of it is RAM");
    return mfn;
}

static mfn_t arena_run_outside(void)
{
    void *page = pool_alloc();

    pool_free(page); /* a run: its next one is the first word, whatever the layout of two words */
    memset(page, 0x5a, 16);
    WANT("arena: a free run is ");
    return INVALID_MFN;
}

/* ---- region, modules, bad pages, stream ---- */

static mfn_t region_frame(void)
{
    mfn_t mfn = some_block(FRAME_REGION, ORDER_2M, MAX_ORDER);

    frametable.sections[mfn_section(mfn)].state = FRAME_IMAGE;
    WANT("frametable: IMAGE order %u; region", frametable_block_locked(mfn).order);
    return mfn;
}

static mfn_t region_elsewhere(void)
{
    mfn_t mfn = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE);

    entry_of(mfn)->state = FRAME_REGION;
    WANT("frametable: REGION order 0; region: outside");
    return mfn;
}

static mfn_t module_frame(void)
{
    mfn_t mfn = pa_to_mfn(image_modules->start);

    entry_of(mfn)->state = FRAME_STREAM;
    WANT("frametable: STREAM order 0; modules: image 0");
    return mfn;
}

static mfn_t module_that_is_longer(void)
{
    mfn_t mfn = mfn_from((image_modules->start + align_up(image_modules->bytes, PAGE_SIZE)) >>
                         PAGE_SHIFT);

    image_modules->bytes += PAGE_SIZE;
    WANT("frametable: MODULE order 0; modules: image 1, and somebody else");
    return mfn;
}

static mfn_t lost_module(void)
{
    mfn_t mfn = pa_to_mfn(image_modules->start);

    image_modules = image_modules->next;
    WANT("frametable: MODULE order 0; modules: no image's");
    return mfn;
}

static mfn_t module_twice(void)
{
    image_modules->next->start = image_modules->start;
    image_modules->next->bytes = PAGE_SIZE;
    WANT("frametable: MODULE order 0; modules: image 1, and somebody else");
    return pa_to_mfn(image_modules->start);
}

static mfn_t bad_page_used(void)
{
    entry_of(mfn_from(WORLD_BAD_MFN))->state = FRAME_IMAGE;
    WANT("frametable: IMAGE order 0; command line: badpage=");
    return mfn_from(WORLD_BAD_MFN);
}

static mfn_t bad_page_not_named(void)
{
    mfn_t mfn = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE);

    entry_of(mfn)->state = FRAME_BAD;
    WANT("frametable: BAD order 0; command line: no badpage= names it");
    return mfn;
}

static mfn_t frame_set_aside(void)
{
    struct extent *e = &sample("big")->extents.items[0];

    frametable.sections[mfn_section(e->mfn)].state = FRAME_RESERVED;
    WANT("frametable: RESERVED of 9 order %u; extents: domain 9 gfn 0x%llx order %u", e->order,
         ULL(e->gfn.v), e->order);
    return e->mfn;
}

static struct lu_mfn_list_page *list(void)
{
    return mfn_to_va(pa_to_mfn(update_stream()->list_pa));
}

static mfn_t stream_page_of_a_guest(void)
{
    struct extent *e = small_extent(sample("control"), 0);

    list()->mfns[0] = e->mfn.v;
    WANT("frametable: GUEST of 1 order 0; MFN list: in it");
    return e->mfn;
}

static mfn_t stream_page_twice(void)
{
    list()->mfns[1] = list()->mfns[0];
    WANT("frametable: STREAM order 0; MFN list: in it, again");
    return mfn_from(list()->mfns[0]);
}

static mfn_t stream_page_lost(void)
{
    uint64_t nr = update_stream()->pages;
    mfn_t mfn = mfn_from(list()->mfns[nr - 1]);

    list()->mfns[nr - 1] = 0;
    WANT("frametable: STREAM order 0; MFN lists: in none");
    return mfn;
}

static mfn_t list_in_a_circle(void)
{
    list()->next_pa = update_stream()->list_pa;
    WANT("frametable: STREAM order 0; MFN list: a page of the list itself, again");
    return pa_to_mfn(update_stream()->list_pa);
}

static mfn_t list_into_guest_memory(void)
{
    struct extent *e = small_extent(sample("control"), 0);

    list()->next_pa = mfn_to_pa(e->mfn);
    WANT("frametable: GUEST of 1 order 0; MFN list: a page of the list itself");
    return e->mfn;
}

static mfn_t list_to_nowhere(void)
{
    list()->next_pa = BIT(51);
    WANT("frametable: NONE order 0; MFN list: a page of the list itself");
    return pa_to_mfn(BIT(51));
}

static mfn_t stream_frame_of_nobody(void)
{
    mfn_t mfn = buddy_alloc(0, FRAME_STREAM, OWNER_NONE);

    WANT("frametable: STREAM order 0; MFN lists: in none");
    return mfn;
}

static mfn_t recorder_frame_of_nobody(void)
{
    mfn_t mfn = buddy_alloc(0, FRAME_RECORDER, OWNER_NONE);

    WANT("frametable: RECORDER order 0; flight recorder: elsewhere");
    return mfn;
}

#define ROW(fn) \
    {           \
#fn, fn \
    }

static const struct {
    const char *name;
    mfn_t (*damage)(void);
} rows[] = {
    ROW(owner_of_a_guest_frame),
    ROW(state_of_a_guest_frame),
    ROW(order_of_a_guest_frame),
    ROW(block_that_reaches_over_another),
    ROW(order_that_cannot_be),
    ROW(section_that_cannot_be),
    ROW(table_of_pieces_nowhere),
    ROW(table_of_pieces_not_aligned),
    ROW(table_of_pieces_in_the_other_arena),
    ROW(extent_twice),
    ROW(extent_of_another_domain),
    ROW(extent_to_free_memory),
    ROW(extent_to_no_memory),
    ROW(extent_without_order),
    ROW(extents_out_of_order),
    ROW(lost_extent),
    ROW(lost_large_extent),
    ROW(extents_without_room),
    ROW(memory_of_another_size),
    ROW(leaf_to_a_foreign_frame),
    ROW(leaf_that_is_too_large),
    ROW(leaf_without_extent),
    ROW(table_in_guest_memory),
    ROW(table_of_two_domains),
    ROW(tables_without_end),
    ROW(tables_not_counted),
    ROW(free_link_to_used_memory),
    ROW(free_link_out_of_the_table),
    ROW(free_link_back),
    ROW(free_list_in_a_circle),
    ROW(free_block_in_no_list),
    ROW(free_block_split_in_two),
    ROW(free_piece_in_two_halves),
    ROW(free_and_used),
    ROW(free_piece_forgotten),
    ROW(section_forgotten),
    ROW(free_count_of_a_section),
    ROW(used_count_of_a_section),
    ROW(sections_of_a_gib),
    ROW(counter),
    ROW(counter_of_split_sections),
    ROW(block_beyond_ram),
    ROW(arena_run_outside),
    ROW(region_frame),
    ROW(region_elsewhere),
    ROW(module_frame),
    ROW(module_that_is_longer),
    ROW(lost_module),
    ROW(module_twice),
    ROW(bad_page_used),
    ROW(bad_page_not_named),
    ROW(frame_set_aside),
    ROW(stream_page_of_a_guest),
    ROW(stream_page_twice),
    ROW(stream_page_lost),
    ROW(list_in_a_circle),
    ROW(list_into_guest_memory),
    ROW(list_to_nowhere),
    ROW(stream_frame_of_nobody),
    ROW(recorder_frame_of_nobody),
};

static void test_audit__damaged__names_the_frame_and_both_views(void **state)
{
    unsigned int failures = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct hc_audit found;

        busy_world();
        assert_ok();
        mfn_t mfn = rows[i].damage();
        assert_int_equal(audit_run(&found), -EBADMSG);
        assert_true(found.mismatches > 0);
        if (strstr(found.text, want) == NULL || (mfn_valid(mfn) && found.mfn != mfn.v)) {
            print_message("%s:\n- mfn 0x%llx: %s\n+ mfn 0x%llx: %s\n", rows[i].name, ULL(mfn.v),
                          want, ULL(found.mfn), found.text);
            failures++;
        }
    }
    assert_int_equal(failures, 0);
}

/* ---- any byte ---- */

/* A byte of something that the audit reads: which kind, and where. */
static uint8_t *some_byte(unsigned int kind)
{
    struct domain *d = sample("control");
    const struct nested *ept = d->stage2;
    uint64_t r = random_u64();

    switch (kind) {
    case 0: /* entries of sections, where there is RAM */
        return (uint8_t *)&frametable.sections[r % 2 * (GIB(4) >> 21)] +
               (r >> 8) % (32 * sizeof(struct section));
    case 1: /* a table of a section in pieces */
        return (uint8_t *)frametable.sections[mfn_section(d->extents.items[r % d->extents.nr].mfn)]
                   .split +
               (r >> 16) % sizeof(struct split);
    case 2:
        return (uint8_t *)&d->extents.items[r % d->extents.nr] + (r >> 16) % sizeof(struct extent);
    case 3: /* nested tables: the root, or the one that has the leaves */
        return (uint8_t *)(r % 2 ? ept->root : ept_entry(d, 0, 0)) + (r >> 16) % 512;
    case 4:
        return (uint8_t *)list() + (r % 2 ? r >> 16 & 15 : (r >> 16) % PAGE_SIZE);
    case 5:
        return (uint8_t *)&frametable.count + (r >> 16) % sizeof(frametable.count);
    default:
        return (uint8_t *)image_modules +
               (r % 2 ? offsetof(struct image_module, start)
                      : offsetof(struct image_module, bytes)) +
               (r >> 16) % 8;
    }
}

/* Whatever stands there, the audit ends and faults nowhere; and what is put right is right. */
static void test_audit__any_byte_damaged__ends(void **state)
{
    unsigned int found_of[7] = {0};

    (void)state;
    for (unsigned int i = 0; i < 14000; i++) {
        uint8_t *byte = some_byte(i % 7), was = *byte;
        struct hc_audit found;

        *byte ^= (uint8_t)(i % 3 == 0 ? BIT(random_u64() % 8) : 1 + random_u64() % 255);
        found_of[i % 7] += audit_run(&found) != 0 ? 1 : 0;
        *byte = was;
    }
    assert_ok();
    for (unsigned int k = 0; k < 7; k++) { /* the rest are bytes that say nothing */
        assert_true(found_of[k] > 200);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_audit__sane_worlds__ok),
        TEST(test_audit__heap_opens_in_slices__ok_in_between),
        TEST(test_audit__random_allocations__ok_all_the_time),
        TEST(test_audit__domains_that_come_and_go__ok_in_between),
        TEST(test_audit_print__ok_or_not__a_line_for_programs),
        TEST(test_audit__any_byte_damaged__ends),
        TEST(test_audit__damaged__names_the_frame_and_both_views),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
