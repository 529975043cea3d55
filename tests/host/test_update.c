/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole updates on the fake machine: load, save, jump, relocator, adoption, what follows; and every
 * way in which one is refused.
 */
#include "fakes/whole_update.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/boot_alloc.h"
#include "hv/buddy.h"
#include "hv/exit.h"
#include "hv/hvm.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/region.h"

/* ---- the whole of it ---- */

static void several_updates(bool virtualization, bool staged)
{
    cold_boot(virtualization);
    world_sample(false);
    lu.refused = 0;
    make_elf(1);
    (void)add_sealed("image one");
    unsigned int index = modules_images() - 1;
    struct world_count before = steady_count();

    for (unsigned int n = 1; n <= 5; n++) {
        uint64_t updates = lu.updates, attempts = lu.attempts;

        lu.finish = staged ? LU_FINISH_COMMIT : LU_FINISH_DONE;
        if (lu_load_module(index, why) != 0) {
            fail_msg("%s", why);
        }
        assert_int_equal(lu.loaded.direct, !staged);
        lu.finish = LU_FINISH_DONE;
        struct vcpu *caller = virtualization ? caller_vcpu() : NULL;
        lu.attempts++;
        char *facts = world_facts();
        lu.attempts--;
        assert_true(exec(caller));
        assert_int_equal(fake_end.jumps, n);
        assert_int_equal(fake_hvm.offs, virtualization ? 1 : 0);
        next_image(n % 2, virtualization);
        assert_facts_equal(facts, world_facts());
        assert_int_equal(lu.updates, updates + 1);
        assert_int_equal(lu.attempts, attempts + 1);
        assert_true(lu_busy());
        work_until_done();
        assert_int_equal(lu.handover->stage, LU_STAGE_RUNNING);
        assert_int_equal(lu.handover->breadcrumb.magic, 0);
        assert_true(fake_printed("ok from=0.1.0-test/001122334455 to=0.1.0-test/001122334455"));
        fake_log_clear();
        assert_counts_equal(&before);
        /* An array that grew and one made for what is known differ in size, but only once. */
        assert_true(n == 1 || fake_vmap_mapped() == before.mapped);
        before.mapped = fake_vmap_mapped();
        assert_true(memory_account());
        paddr_t idle = region_arena_start(&region, 1 - lu.arena);
        assert_true(all_zero(idle, region_arena_end(&region, 1 - lu.arena)));
        if (virtualization) {
            assert_int_equal(caller_vcpu()->gpr[GPR_RAX], 0);
        }
    }
    fake_machine_unmap_identity(RELOC_START, RELOC_END);
}

static void test_update__several_in_a_row__facts_kept_and_nothing_leaks(void **state)
{
    (void)state;
    several_updates(true, false);
    several_updates(true, true);
    several_updates(false, false);
    several_updates(false, true);
}

/* The same image placed at once, and by the real relocator: the same bytes. */
static void test_place__staged_and_direct__same_memory(void **state)
{
    paddr_t start = region_arena_start(&region, 1), end = region_arena_end(&region, 1);
    uint8_t *direct = malloc(end - start);

    (void)state;
    assert_non_null(direct);
    make_elf(1);
    (void)add_sealed("image");
    for (int staged = 0; staged < 2; staged++) {
        memset(fake_va(start), 0, end - start);
        lu.finish = staged ? LU_FINISH_COMMIT : LU_FINISH_DONE;
        fake_random_seed(5); /* the same nonce */
        assert_int_equal(lu_load_module(0, why), 0);
        if (staged) {
            assert_true(all_zero(start, end));
        }
        lu.finish = LU_FINISH_DONE;
        assert_true(exec(NULL));
        relocate();
        if (staged) {
            assert_memory_equal(direct, fake_va(start), end - start);
        } else {
            memcpy(direct, fake_va(start), end - start);
        }
        console_pause_end();
        lu_unload();
    }
    free(direct);
}

/* An image that is replaced before it was used leaves nothing in the arena. */
static void test_load__a_large_image_replaced_by_a_small_one__arena_is_clean(void **state)
{
    (void)state;
    make_elf(1);
    elf.ph[2].memsz += MIB(1);
    (void)add_sealed("image large");
    make_elf(2);
    (void)add_sealed("image small");
    assert_int_equal(lu_load_module(0, why), 0);
    memset(fake_va(lu.loaded.dest_pa + KIB(512)), 0x77, KIB(64)); /* as if it had data there */
    assert_int_equal(lu_load_module(1, why), 0);
    assert_true(exec(NULL));
    relocate();
    (void)arena_ready(1);
}

static void test_update__command_line__nonce_and_region_are_new_the_rest_stays(void **state)
{
    struct boot_info next;
    const char *reason = "";
    char want[200];

    (void)state;
    make_elf(1);
    (void)add_sealed("image");
    assert_int_equal(lu_load_module(0, why), 0);
    uint64_t nonce = lu.loaded.nonce;
    assert_true(exec(NULL));
    assert_int_equal(mb2_parse(fake_va(fake_end.info_pa), PAGE_SIZE, &next, &reason), 0);
    snprintf(want, sizeof(want), "badpage=2345 liveupdate=0x800000@0x1000000 lu_nonce=0x%016llx",
             (unsigned long long)nonce);
    assert_string_equal(next.cmdline, want);
    assert_string_equal(next.loader, "a boot loader");
    assert_int_equal(next.nr_modules, 0);
    assert_int_equal(next.mmap_entries, lu.boot.mmap_entries);
}

/* ---- refused loads ---- */

static void damage_magic(void)
{
    elf.header.magic = 0;
}

static void damage_note(void)
{
    elf.notes.molt.type = 99;
}

static void damage_version(void)
{
    elf.notes.note.stream_min = LU_STREAM_VERSION + 1;
    elf.notes.note.stream_max = LU_STREAM_VERSION + 1;
}

static void damage_size(void)
{
    elf.ph[2].memsz = MIB(5);
}

static void damage_size_max(void)
{
    elf.ph[2].memsz = UINT64_MAX / 2;
}

static void almost_too_large(void)
{
    elf.ph[2].memsz = MIB(4) - KIB(128);
}

static void assert_refused(uint64_t refused_before, int rc, uint32_t code)
{
    struct hc_lu_status s;

    lu_get_status(&s);
    assert_int_equal(s.last_result, rc);
    assert_int_equal(s.refused, refused_before + 1);
    assert_true(s.reason[0] != '\0');
    assert_string_equal(s.reason, why);
    assert_int_equal(s.code, code);
    assert_int_equal(s.needed != 0, code == HC_LU_R_SPACE);
    assert_true(fake_printed(why));
}

static void test_load__images_that_cannot_be__refused_with_a_reason(void **state)
{
    static const struct {
        void (*damage)(void);
        int rc;
        uint32_t code;
    } rows[] = {
        {damage_magic, -ENOEXEC, HC_LU_R_MALFORMED}, {damage_note, -ENOEXEC, HC_LU_R_NOTE},
        {damage_version, -EPROTO, HC_LU_R_STREAM},   {damage_size, -ENOSPC, HC_LU_R_SPACE},
        {damage_size_max, -ENOSPC, HC_LU_R_SPACE},   {almost_too_large, -ENOSPC, HC_LU_R_SPACE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        make_elf(1);
        rows[i].damage();
        paddr_t pa = add_sealed("image");
        struct world_count before = world_count();
        uint64_t refused = lu.refused;

        why[0] = '\0';
        assert_int_equal(lu_load_module((unsigned int)i, why), rows[i].rc);
        assert_refused(refused, rows[i].rc, rows[i].code);
        struct world_count after = world_count();
        assert_true(world_count_equal(&before, &after));
        struct hc_lu_status s;
        lu_get_status(&s);
        assert_int_equal(s.state, HC_LU_IDLE);
        assert_int_equal(s.modules, i + 1);
        assert_true(pa != 0);
    }
    assert_true(all_zero(region_arena_start(&region, 1), region_arena_end(&region, 1)));
}

static void test_load_module__index__none_other_or_damaged(void **state)
{
    struct hc_lu_status s;

    (void)state;
    assert_int_equal(lu_load_module(0, why), -ENOENT);
    assert_refused(0, -ENOENT, HC_LU_R_NO_IMAGE);
    assert_int_equal(lu_load_module(LU_MODULE_OTHER, why), -ENOENT);
    assert_refused(1, -ENOENT, HC_LU_R_NO_IMAGE);
    make_elf(1);
    elf.header.magic = 0;
    (void)add_sealed("image damaged");
    make_elf(0xab);
    (void)add_sealed("image running");
    fake_build_id = "abf1f2f3f4f5f6f7f8f9fafbfcfdfeff00010203";
    assert_int_equal(lu_load_module(LU_MODULE_OTHER, why), -ENOENT);
    make_elf(0xac);
    (void)add_sealed("image other");
    assert_int_equal(lu_load_module(LU_MODULE_OTHER, why), 0);
    lu_get_status(&s);
    assert_int_equal(s.state, HC_LU_LOADED);
    assert_int_equal(s.last_result, 0);
    assert_string_equal(s.reason, "");
    assert_int_equal(s.code, HC_LU_R_NONE);
    assert_string_equal(s.loaded_version, "0.1.2");
    assert_int_equal(strncmp(s.loaded_build_id, "acf1", 4), 0);
    assert_int_equal(lu_load_module(1, why), 0); /* by index the running one too */
    assert_int_equal(lu_load_module(3, why), -ENOENT);
    assert_int_equal(lu_load_module(UINT32_MAX - 1, why), -ENOENT);
}

#define LIST_GPA 0x1000U

/* As a hypercall does it, slice by slice. */
static int load_pages(struct domain *d, uint64_t list, uint64_t pages, uint64_t bytes)
{
    const struct lu_source source = {.domain = d, .list_gpa = list, .pages = pages, .bytes = bytes};
    int rc;

    do {
        rc = lu_load_slice(&source, why);
    } while (rc == LU_AGAIN);
    return rc;
}

/* A domain whose memory holds the image in pages of any order, and the list of them. */
static struct domain *domain_with_image(uint64_t *pages)
{
    struct domain *d = domain_create("loader", 5, true);
    uint64_t gfns[16];

    assert_non_null(d);
    assert_int_equal(domain_add_memory(d, MIB(1)), 0);
    *pages = (IMAGE_FILE_BYTES + PAGE_SIZE - 1) / PAGE_SIZE;
    make_elf(1);
    elf_image_seal(&elf);
    for (uint64_t i = 0; i < *pages; i++) {
        uint64_t n = MIN(PAGE_SIZE, IMAGE_FILE_BYTES - i * PAGE_SIZE);

        gfns[i] = 200 - 7 * i;
        assert_int_equal(domain_write(d, gfns[i] << PAGE_SHIFT, (uint8_t *)&elf + i * PAGE_SIZE, n),
                         0);
    }
    assert_int_equal(domain_write(d, LIST_GPA, gfns, sizeof(gfns[0]) * *pages), 0);
    return d;
}

static void test_load_pages__from_guest_memory__loaded(void **state)
{
    uint64_t pages;
    struct domain *d = domain_with_image(&pages);

    (void)state;
    if (load_pages(d, LIST_GPA, pages, IMAGE_FILE_BYTES) != 0) {
        fail_msg("%s", why);
    }
    assert_int_equal(fake_vmap_mapped(), 0); /* the copy is gone */
    assert_true(exec(NULL));
    relocate();
    (void)arena_ready(1);
}

static void test_load_pages__impossible_lists__refused(void **state)
{
    uint64_t pages, out;
    struct domain *d = domain_with_image(&pages);
    uint64_t all = d->memory_bytes >> PAGE_SHIFT;
    const struct {
        uint64_t list, pages, bytes;
        int rc;
    } rows[] = {
        {LIST_GPA, 0, 0, -EINVAL},
        {LIST_GPA, pages, 0, -EINVAL},
        {LIST_GPA, pages, (pages - 1) * PAGE_SIZE, -EINVAL},
        {LIST_GPA, pages, pages * PAGE_SIZE + 1, -EINVAL},
        {LIST_GPA, UINT64_MAX, UINT64_MAX, -EINVAL},
        {LIST_GPA, UINT64_MAX / PAGE_SIZE, UINT64_MAX / PAGE_SIZE * PAGE_SIZE, -E2BIG},
        {LIST_GPA, all + 1, all * PAGE_SIZE + 1, -E2BIG},
        {MIB(1), pages, IMAGE_FILE_BYTES, -EFAULT},
        {MIB(1) - 8, 2, PAGE_SIZE + 1, -EFAULT},
        {UINT64_MAX - 7, 2, PAGE_SIZE + 1, -EFAULT},
        {UINT64_MAX - 6, 1, 1, -EFAULT},
        {LIST_GPA + 8, pages, IMAGE_FILE_BYTES, -ENOEXEC}, /* reaches an entry of 0: page 0 */
        {LIST_GPA + 0x800, 1, 1, -EFAULT},
        {LIST_GPA + 0x808, 1, 1, -EFAULT},
    };

    (void)state;
    out = all;
    assert_int_equal(domain_write(d, LIST_GPA + 0x800, &out, sizeof(out)), 0);
    out = UINT64_MAX;
    assert_int_equal(domain_write(d, LIST_GPA + 0x808, &out, sizeof(out)), 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct world_count before = world_count();
        uint64_t refused = lu.refused;
        int rc = load_pages(d, rows[i].list, rows[i].pages, rows[i].bytes);

        if (rc != rows[i].rc) {
            fail_msg("row %zu: %d", i, rc);
        }
        assert_refused(refused, rc, rc == -ENOEXEC ? HC_LU_R_MALFORMED : HC_LU_R_PAGES);
        struct world_count after = world_count();
        assert_true(world_count_equal(&before, &after));
    }
}

/* ---- refused updates ---- */

static void test_request_exec__nothing_loaded_or_under_way__refused(void **state)
{
    uint64_t gfn = 1;

    (void)state;
    world_sample(true);
    lu.refused = 0;
    assert_int_equal(lu_request_exec(NULL, why), -ENOENT);
    assert_refused(0, -ENOENT, HC_LU_R_NO_IMAGE);
    assert_false(lu_due());
    make_elf(1);
    (void)add_sealed("image");
    assert_int_equal(lu_load_module(2, why), 0);
    assert_int_equal(lu_request_exec(caller_vcpu(), why), 0);
    assert_int_equal(lu_request_exec(NULL, why), -EBUSY);
    assert_refused(1, -EBUSY, HC_LU_R_BUSY);
    /* The image that is about to be jumped to cannot be taken away. */
    assert_int_equal(lu_load_module(7, why), -EBUSY);
    assert_refused(2, -EBUSY, HC_LU_R_BUSY);
    assert_int_equal(lu_load_module(2, why), -EBUSY);
    assert_refused(3, -EBUSY, HC_LU_R_BUSY);
    assert_int_equal(domain_write(domain_find(1), 0, &gfn, sizeof(gfn)), 0);
    assert_int_equal(load_pages(domain_find(1), 0, 1, 1), -EBUSY);
    assert_refused(4, -EBUSY, HC_LU_R_BUSY);
    assert_true(lu.loaded.valid);
    let_run();
    assert_true(FAKE_ENDS(lu_poll()));
    assert_int_equal(fake_end.entry_pa, region_arena_start(&region, 1) + IMAGE_ENTRY);
}

/* The last update's work is not done: the caller sleeps until the arena is free, others run on. */
static void test_request_exec__still_busy__waits_for_the_arena(void **state)
{
    struct vcpu *caller;

    (void)state;
    world_sample(true);
    make_elf(1);
    (void)add_sealed("image");
    lu.finish = LU_FINISH_SCRUB;
    lu.finish_cursor = 0;
    lu.update_boot = true;
    assert_int_equal(lu_load_module(2, why), 0);
    assert_false(lu.loaded.direct);
    caller = caller_vcpu();
    assert_int_equal(lu_request_exec(caller, why), 0);
    let_run();
    assert_false(lu_due());
    assert_false(FAKE_ENDS(lu_poll()));
    assert_int_equal(caller->run_state, VCPU_SLEEPING);
    work_until_done();
    assert_true(lu_due());
    assert_true(FAKE_ENDS(lu_poll()));
    assert_int_equal(caller->run_state, VCPU_RUNNABLE);
    assert_int_equal(caller->wake_tsc, 0);
    next_image(1, true);
    assert_int_equal(caller_vcpu()->run_state, VCPU_RUNNABLE);
}

/* ---- a parked CPU that does not come ---- */

/* An update to arena 1 by an image that has parked another CPU, as far as commit 1. */
static void update_without_the_other_cpu(void)
{
    world_sample(true);
    make_elf(1);
    (void)add_sealed("image");
    assert_int_equal(lu_load_module(2, why), 0);
    assert_true(exec(NULL));
    next_image(1, true);
    lu.refused = 0;
    cpus_expected = 2;
    caller_vcpu()->entered = true;
    fake_log_clear();
}

static void stay_until_limit(void)
{
    uint64_t limit = lu.adopted_tsc + 5000 * tsc_khz;

    fake_tsc = limit - 1;
    assert_false(lu_work());
    assert_int_equal(lu.handover->stage, LU_STAGE_ADOPTED);
    fake_tsc = limit;
}

static void test_finish__cpu_does_not_come__commit_without_it_and_no_update(void **state)
{
    paddr_t idle;

    (void)state;
    update_without_the_other_cpu();
    idle = region_arena_start(&region, 0);
    *(uint8_t *)fake_va(idle) = 0x5a; /* the loop that it may be in */
    stay_until_limit();
    work_until_done();
    assert_int_equal(lu.handover->stage, LU_STAGE_RUNNING);
    assert_true(fake_printed("lu: 1 of 2 CPUs have come within 5000 ms"));
    assert_int_equal(*(uint8_t *)fake_va(idle), 0x5a);
    assert_int_equal(lu_load_module(2, why), -EBUSY);
    assert_refused(0, -EBUSY, HC_LU_R_CPU);

    /* After all: the arena becomes idle, and updates work again. */
    assert_false(lu_work());
    nr_cpus = 2;
    assert_true(lu_work());
    nr_cpus = cpus_expected = 1; /* of the world's */
    work_until_done();
    assert_true(all_zero(idle, region_arena_end(&region, 0)));
    assert_int_equal(lu_load_module(2, why), 0);
    assert_true(lu.loaded.direct);
    assert_true(exec(NULL));
}

static void test_finish__cpu_does_not_come__request_that_waits_is_refused(void **state)
{
    struct vcpu *caller;

    (void)state;
    update_without_the_other_cpu();
    cpus_expected = 1;              /* this image takes none over */
    while (!buddy_open_step(~0U)) { /* as when memory has been given back meanwhile */
    }
    assert_int_equal(lu_load_module(2, why), 0);
    assert_false(lu.loaded.direct);
    caller = caller_vcpu();
    assert_int_equal(lu_request_exec(caller, why), 0);
    cpus_expected = 2;
    let_run();
    stay_until_limit();
    assert_false(lu_due());
    work_until_done();
    assert_true(lu_due());
    assert_false(FAKE_ENDS(lu_poll()));
    assert_int_equal(lu.code, HC_LU_R_CPU);
    assert_true(fake_printed("lu: refused: a CPU has not come after the last update (code 14)"));
    assert_int_equal(caller->run_state, VCPU_RUNNABLE);
    assert_int_equal((int64_t)caller->gpr[GPR_RAX], -EBUSY);
    assert_false(lu_due());
    cpus_expected = 1;
}

static void duplicate_extent(struct domain *d)
{
    struct extent *items = d->extents.items;

    for (size_t i = 0; i < d->extents.nr; i++) {
        for (size_t k = i + 1; k < d->extents.nr; k++) {
            if (items[i].order == items[k].order) {
                items[k].mfn = items[i].mfn;
                return;
            }
        }
    }
    fail_msg("no two extents of one order");
}

static void foreign_extent(struct domain *d)
{
    d->extents.items[0].mfn = d->next->extents.items[0].mfn;
    d->extents.items[0].order = 0;
}

static void lost_extent(struct domain *d)
{
    uint64_t frames = BIT(d->extents.items[d->extents.nr - 1].order);

    d->extents.nr--;
    d->memory_bytes -= frames << PAGE_SHIFT;
}

static void odd_flags(struct domain *d)
{
    d->extents.items[0].flags = 1;
}

static void odd_memory(struct domain *d)
{
    d->memory_bytes += PAGE_SIZE;
}

static void odd_uart(struct domain *d)
{
    d->uart.lsr_errors = 0x60;
}

static void odd_module(struct domain *d)
{
    (void)d;
    image_modules->bytes -= PAGE_SIZE;
}

static void test_poll__own_stream_does_not_hold__refused_and_guests_go_on(void **state)
{
    static void (*const damages[])(struct domain * d) = {
        duplicate_extent, foreign_extent, lost_extent, odd_flags, odd_memory, odd_uart, odd_module,
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(damages); i++) {
        if (i != 0) {
            (void)teardown(NULL);
            (void)setup(NULL);
        }
        world_sample(false);
        make_elf(1);
        (void)add_sealed("image");
        struct domain *d = domain_find(1), saved = *d;
        struct image_module module = *image_modules;
        struct extent items[1024];

        assert_true(d->extents.nr < ARRAY_SIZE(items));
        memcpy(items, d->extents.items, d->extents.nr * sizeof(items[0]));
        damages[i](d);
        assert_int_equal(lu_load_module(2, why), 0);
        struct vcpu *caller = caller_vcpu();
        uint64_t refused = lu.refused;
        if (exec(caller)) {
            fail_msg("damage %zu is not found", i);
        }
        assert_int_equal((int64_t)caller->gpr[GPR_RAX], -EBADMSG);
        assert_int_equal(lu.refused, refused + 1);
        assert_int_equal(lu.last_result, -EBADMSG);
        assert_int_equal(lu.code, HC_LU_R_OWN_STREAM);
        assert_true(lu.reason[0] != '\0');
        assert_true(fake_printed("refused reason="));
        assert_int_equal(lu.handover->breadcrumb.magic, 0);
        assert_int_equal(frametable_count(FRAME_STREAM), 0);
        /* Put right, the next attempt works. */
        memcpy(d->extents.items, items, saved.extents.nr * sizeof(items[0]));
        d->extents.nr = saved.extents.nr;
        d->memory_bytes = saved.memory_bytes;
        d->uart = saved.uart;
        image_modules->bytes = module.bytes;
        assert_true(exec(caller));
        next_image(1, true);
    }
}

/* An image is loaded; returns who asks for the update. */
static struct vcpu *load_beside_sample(void)
{
    world_sample(false);
    make_elf(1);
    (void)add_sealed("image");
    assert_int_equal(lu_load_module(2, why), 0);
    return caller_vcpu();
}

/* The records were checked while guests ran; the checksum of the pause is over them too. */
static void test_poll__prepared_records_changed_since__refused(void **state)
{
    struct vcpu *caller;
    size_t prepared_bytes;

    (void)state;
    caller = load_beside_sample();
    prepared_bytes = MIN(writer.length, (uint64_t)PAGE_SIZE);
    for (size_t at = sizeof(struct lu_stream_header); at < prepared_bytes; at += 61) {
        const struct lu_mfn_list_page *list = fake_va(writer.list_pa);
        uint8_t *page = fake_va(list->mfns[0] << PAGE_SHIFT);

        page[at] ^= 4;
        assert_false(exec(caller));
        assert_int_equal(lu.code, HC_LU_R_OWN_STREAM);
        assert_string_equal(lu.reason, "stream: checksum is wrong");
        update_prepare();
    }
    assert_true(exec(caller));
    next_image(1, true);
}

static int64_t load_other_image(void)
{
    const struct hc_lu_load args = {.source = HC_LU_SOURCE_MODULE, .module = LU_MODULE_OTHER};
    struct vcpu *v = caller_vcpu();

    assert_int_equal(domain_write(v->domain, LIST_GPA, &args, sizeof(args)), 0);
    v->gpr[GPR_RAX] = HC_LU_LOAD;
    v->gpr[GPR_RBX] = LIST_GPA;
    v->gpr[GPR_RCX] = sizeof(args);
    return hypercall(v);
}

/* Right after an update there is no memory for an image yet: the call goes on when there is. */
static void test_hypercall_load__heap_not_open_yet__waits(void **state)
{
    struct hc_lu_status s;
    struct vcpu *caller;
    int64_t r;
    uint64_t refused;

    (void)state;
    caller = load_beside_sample();
    assert_true(exec(caller));
    next_image(1, true);
    refused = lu.refused;
    assert_false(buddy_opened());
    for (unsigned int i = 0; i < 100; i++) { /* more than it takes to hash the image */
        assert_int_equal(load_other_image(), HYPERCALL_RESTART);
    }
    assert_int_equal(lu.refused, refused);
    lu_get_status(&s);
    assert_int_equal(s.busy, 1);
    work_until_done();
    lu_get_status(&s);
    assert_int_equal(s.busy, 0);
    while ((r = load_other_image()) == HYPERCALL_RESTART) {
    }
    assert_int_equal(r, 0);
    assert_true(lu.loaded.valid);
    lu_unload();
}

/* ---- no memory ---- */

static void (*const set_failure[])(long n) = {fake_fail_alloc_after, fake_vmap_fail_after};

static void load_without_memory(bool staged, void (*fail_after)(long n))
{
    struct world_count before = world_count();
    char *facts = world_facts();
    long n = 0;
    int rc;

    do {
        uint64_t refused = lu.refused;

        lu.finish = staged ? LU_FINISH_COMMIT : LU_FINISH_DONE;
        fail_after(n++);
        rc = lu_load_module(2, why);
        fail_after(-1);
        lu.finish = LU_FINISH_DONE;
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_refused(refused, rc, HC_LU_R_MEMORY);
            assert_false(lu.loaded.valid);
        } else if (stream_stage == STREAM_PREPARED && writer.error != 0) {
            /* Only the stream begun ahead is missing. */
            rc = -ENOMEM;
        }
        lu_unload();
        struct world_count after = world_count();
        assert_true(world_count_equal(&before, &after));
        assert_true(all_zero(region_arena_start(&region, 1), region_arena_end(&region, 1)));
    } while (rc != 0);
    assert_true(n > 1 || fail_after == fake_vmap_fail_after);
    lu.refused = 3;
    assert_facts_equal(facts, world_facts());
}

static void test_load__no_memory_at_each_allocation__refused_and_nothing_lost(void **state)
{
    (void)state;
    world_sample(false);
    make_elf(1);
    (void)add_sealed("image");
    for (size_t f = 0; f < ARRAY_SIZE(set_failure); f++) {
        load_without_memory(false, set_failure[f]);
        load_without_memory(true, set_failure[f]);
    }
}

static void test_load_pages__no_memory_at_each_allocation__refused(void **state)
{
    uint64_t pages;
    struct domain *d = domain_with_image(&pages);

    (void)state;
    for (size_t f = 0; f < ARRAY_SIZE(set_failure); f++) {
        struct world_count before = world_count();
        int rc;
        long n = 0;

        do {
            set_failure[f](n++);
            rc = load_pages(d, LIST_GPA, pages, IMAGE_FILE_BYTES);
            set_failure[f](-1);
            assert_true(rc == 0 || rc == -ENOMEM);
            assert_true(rc == 0 || why[0] != '\0');
            lu_unload();
            struct world_count after = world_count();
            assert_true(world_count_equal(&before, &after));
        } while (rc != 0);
        assert_true(n > 3);
    }
}

/* Each allocation inside the pause fails: the guests go on as if nothing had been. */
static void pause_without_memory(bool staged, bool outdated, void (*fail_after)(long n))
{
    struct vcpu *caller;
    bool jumped;
    volatile long n = 0; /* FAKE_ENDS() is a setjmp() */

    cold_boot(true);
    world_sample(false);
    make_elf(1);
    (void)add_sealed("image");
    caller = caller_vcpu();
    lu.finish = staged ? LU_FINISH_COMMIT : LU_FINISH_DONE;
    assert_int_equal(lu_load_module(2, why), 0);
    lu.finish = LU_FINISH_DONE;
    update_forget();
    struct world_count before = world_count();
    char *facts = world_facts();

    do {
        uint64_t refused = lu.refused, attempts = lu.attempts;

        if (outdated) {
            update_prepare(); /* as after a load: and then the memory of a domain changes */
            domain_generation++;
        } else if (n % 2 == 0) {
            update_prepare();
        }
        assert_int_equal(lu_request_exec(caller, why), 0);
        let_run();
        caller->gpr[GPR_RAX] = 0;
        fail_after(n++);
        while (update_work()) {
        }
        jumped = FAKE_ENDS(lu_poll());
        fail_after(-1);
        if (jumped) {
            break;
        }
        assert_int_equal((int64_t)caller->gpr[GPR_RAX], -ENOMEM);
        caller->gpr[GPR_RAX] = 0;
        assert_int_equal(lu.refused, refused + 1);
        assert_int_equal(lu.attempts, attempts + 1);
        assert_int_equal(lu.last_result, -ENOMEM);
        assert_int_equal(lu.code, HC_LU_R_MEMORY);
        assert_true(lu.reason[0] != '\0');
        assert_false(lu.exec_requested);
        lu.refused = refused;
        lu.attempts = attempts;
        struct world_count after = world_count();
        assert_true(world_count_equal(&before, &after));
        assert_facts_equal(facts, world_facts());
        facts = world_facts();
    } while (true);
    /* n counts the last, successful attempt as well. */
    assert_true(n > 2);
    next_image(1, true);
    lu.attempts--;
    assert_facts_equal(facts, world_facts());
    fake_machine_unmap_identity(RELOC_START, RELOC_END);
}

static void test_poll__no_memory_at_each_allocation__refused_and_then_it_works(void **state)
{
    (void)state;
    for (size_t f = 0; f < ARRAY_SIZE(set_failure); f++) {
        pause_without_memory(false, false, set_failure[f]);
        pause_without_memory(true, false, set_failure[f]);
        pause_without_memory(false, true, set_failure[f]);
    }
}

/* Domains changed between load and jump: what was prepared is not used. */
static void test_poll__memory_changed_since_the_load__stream_is_written_anew(void **state)
{
    struct domain *d;

    (void)state;
    world_sample(true);
    make_elf(1);
    (void)add_sealed("image");
    assert_int_equal(lu_load_module(2, why), 0);
    d = domain_create("late", 30, false);
    assert_non_null(d);
    assert_int_equal(domain_add_memory(d, MIB(2)), 0);
    domain_destroy(domain_find(2));
    assert_true(exec(NULL));
    next_image(1, true);
    assert_non_null(domain_find(30));
    assert_int_equal(domain_find(30)->memory_bytes, MIB(2));
    assert_null(domain_find(2));
}

/* ---- new side ---- */

static void jump_with_sample(void)
{
    world_sample(true);
    make_elf(1);
    (void)add_sealed("image");
    assert_int_equal(lu_load_module(2, why), 0);
    assert_true(exec(NULL));
    relocate();
}

/* The statement ends in the way back, with a reason that begins so. */
#define assert_goes_back(statement, text)                                              \
    do {                                                                               \
        unsigned int backs_ = fake_end.backs;                                          \
        assert_true(FAKE_ENDS(statement));                                             \
        assert_int_equal(fake_end.backs, backs_ + 1);                                  \
        assert_int_equal(fake_end.entry_pa, FAKE_BACK_ENTRY);                          \
        assert_int_equal(fake_end.handover_pa, WORLD_REGION);                          \
        assert_int_equal(handover()->failure.kind, LU_FAIL_REFUSED);                   \
        if (strncmp(handover()->failure.reason, text, strlen(text)) != 0) {            \
            fail_msg("back for \"%s\", not \"%s\"", handover()->failure.reason, text); \
        }                                                                              \
    } while (0)

static void test_init__breadcrumb_damaged__goes_back_and_adopts_nothing(void **state)
{
    (void)state;
    jump_with_sample();
    paddr_t info_pa = fake_end.info_pa, start = next_start();
    for (size_t i = 0; i < sizeof(struct lu_breadcrumb); i++) {
        ((uint8_t *)&handover()->breadcrumb)[i] ^= 0x10;
        forget_image();
        assert_goes_back(world_boot_image(1, fake_va(info_pa), PAGE_SIZE, start, true),
                         "breadcrumb: ");
        assert_null(domain_list);
        ((uint8_t *)&handover()->breadcrumb)[i] ^= 0x10;
    }
}

/* A cold boot after a reset in the middle of an update: the breadcrumb in RAM is not taken. */
static void test_init__stale_breadcrumb_at_cold_boot__ignored_and_cleared(void **state)
{
    size_t bytes;

    (void)state;
    jump_with_sample();
    const void *block = world_info(&bytes);
    forget_image();
    world_boot_image(0, block, bytes, own_start(0), true);
    assert_false(lu_update_boot());
    assert_null(domain_list);
    assert_int_equal(handover()->breadcrumb.magic, 0);
    assert_int_equal(handover()->magic, 0);
}

static void check_goes_back(const char *text)
{
    boot_again();
    assert_goes_back(lu_check(), text);
    assert_null(domain_list);
}

static void test_check__stream_or_list_damaged__goes_back_before_anything_is_made(void **state)
{
    struct lu_mfn_list_page *list;
    uint64_t keep;
    uint8_t *page;

    (void)state;
    jump_with_sample();
    list = fake_va(handover()->breadcrumb.mfn_list_pa);
    page = fake_va(list->mfns[0] << PAGE_SHIFT);

    page[100] ^= 1;
    check_goes_back("stream: stream: checksum is wrong");
    page[100] ^= 1;

    keep = list->mfns[0];
    list->mfns[0] = WORLD_REGION >> PAGE_SHIFT;
    check_goes_back("stream: mfn list: checksum");
    list->mfns[0] = handover()->breadcrumb.mfn_list_pa >> PAGE_SHIFT; /* named twice */
    check_goes_back("stream: mfn list: checksum");
    list->mfns[0] = keep;

    list->next_pa = handover()->breadcrumb.mfn_list_pa;
    check_goes_back("stream: mfn list:");
    list->next_pa = 0;

    /* And as it was, it is good. */
    boot_again();
    lu_check();
    lu_adopt();
    work_until_done();
}

/* All pages of a stream of several list pages come back. */
static void test_finish__long_stream__every_page_freed(void **state)
{
    struct domain *d;

    (void)state;
    d = world_fragmented_domain("many", 1, 1);
    for (uint64_t i = 0; i < 6000; i++) { /* gfns from far to near: no neighbours, single frames */
        mfn_t mfn = buddy_alloc(ORDER_4K, FRAME_GUEST, 1);

        assert_int_equal(extent_map_add(&d->extents, gfn_from(10 + 2 * i), mfn, 0, 0), 0);
        d->memory_bytes += PAGE_SIZE;
    }
    make_elf(1);
    (void)add_sealed("image");
    struct world_count before = steady_count();
    assert_int_equal(lu_load_module(0, why), 0);
    assert_true(exec(NULL));
    next_image(1, true);
    assert_int_equal(frametable_count(FRAME_STREAM), lu.stream_pages + 1);
    assert_true(lu.stream_pages > 30);
    assert_int_equal(fake_vmap_mapped() >= lu.stream_pages, 1);
    work_until_done();
    assert_int_equal(frametable_count(FRAME_STREAM), 0);
    struct world_count after = steady_count();
    for (unsigned int s = 0; s < FRAME_STATES; s++) {
        /* What the image itself takes may come from the arena or from the heap. */
        if (s != FRAME_IMAGE && s != FRAME_FREE) {
            assert_int_equal(before.frames[s], after.frames[s]);
        }
    }
}

static void test_status__region_and_numbers__as_they_are(void **state)
{
    struct hc_lu_region r;

    (void)state;
    lu_get_region(&r);
    assert_int_equal(r.base, WORLD_REGION);
    assert_int_equal(r.size, WORLD_REGION_SIZE);
    assert_int_equal(r.arena_base[0], WORLD_REGION + PAGE_SIZE);
    assert_int_equal(r.arena_size[0], WORLD_REGION_SIZE / 2 - PAGE_SIZE);
    assert_int_equal(r.arena_base[1], WORLD_REGION + WORLD_REGION_SIZE / 2);
    assert_int_equal(r.arena_size[1], WORLD_REGION_SIZE / 2);
    assert_int_equal(r.active, 0);
    assert_int_equal(r.reserved, 0);
    assert_int_equal(r.required, lu_required());
    uint64_t empty = lu_required();
    world_sample(false);
    assert_true(lu_required() > empty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown_alive)
#define TEST_DEAD(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_update__several_in_a_row__facts_kept_and_nothing_leaks),
        TEST(test_place__staged_and_direct__same_memory),
        TEST(test_load__a_large_image_replaced_by_a_small_one__arena_is_clean),
        TEST(test_update__command_line__nonce_and_region_are_new_the_rest_stays),
        TEST(test_load__images_that_cannot_be__refused_with_a_reason),
        TEST(test_load_module__index__none_other_or_damaged),
        TEST(test_load_pages__from_guest_memory__loaded),
        TEST(test_load_pages__impossible_lists__refused),
        TEST(test_request_exec__nothing_loaded_or_under_way__refused),
        TEST(test_request_exec__still_busy__waits_for_the_arena),
        TEST(test_finish__cpu_does_not_come__commit_without_it_and_no_update),
        TEST(test_finish__cpu_does_not_come__request_that_waits_is_refused),
        TEST(test_poll__own_stream_does_not_hold__refused_and_guests_go_on),
        TEST(test_poll__prepared_records_changed_since__refused),
        TEST(test_hypercall_load__heap_not_open_yet__waits),
        TEST(test_load__no_memory_at_each_allocation__refused_and_nothing_lost),
        TEST(test_load_pages__no_memory_at_each_allocation__refused),
        cmocka_unit_test(test_poll__no_memory_at_each_allocation__refused_and_then_it_works),
        TEST(test_poll__memory_changed_since_the_load__stream_is_written_anew),
        TEST_DEAD(test_init__breadcrumb_damaged__goes_back_and_adopts_nothing),
        TEST(test_init__stale_breadcrumb_at_cold_boot__ignored_and_cleared),
        TEST_DEAD(test_check__stream_or_list_damaged__goes_back_before_anything_is_made),
        TEST(test_finish__long_stream__every_page_freed),
        TEST(test_status__region_and_numbers__as_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
