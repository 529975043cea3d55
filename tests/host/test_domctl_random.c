/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains by hypercall in any order: calls are left half-done, allocations fail, updates are asked
 * for and refused, and after each step every frame is somebody's and nobody runs who must not.
 */
#include <stdlib.h>
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/domctl.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/frametable.h"
#include "hv/memory.h"
#include "hw/elf.h"
#include "hw/multiboot.h"

#define STEPS 60000U
#define ARGS 0x3000U
#define LIST 0x4000U
#define BUFFER 0x5000U
#define PAYLOAD 0x10000U
#define CODE 0x60U
#define LOAD_PA 0x100000U

static struct domain *control;
static struct elf_image elf;
static unsigned int requests;

static void put(uint64_t gpa, const void *data, size_t n)
{
    assert_int_equal(domain_write(control, gpa, data, n), 0);
}

/* A payload of one page, and a list that names it. */
static void put_payload(void)
{
    struct elf32_header h = {.magic = ELF_MAGIC,
                             .class = ELF_CLASS_32,
                             .data = ELF_DATA_LSB,
                             .ident_version = 1,
                             .type = ELF_TYPE_EXEC,
                             .machine = ELF_MACHINE_386,
                             .version = 1,
                             .entry = LOAD_PA,
                             .phoff = sizeof(h),
                             .phentsize = sizeof(struct elf32_phdr),
                             .phnum = 1};
    struct elf32_phdr p = {.type = ELF_PT_LOAD,
                           .offset = CODE,
                           .vaddr = LOAD_PA,
                           .paddr = LOAD_PA,
                           .filesz = 64,
                           .memsz = 64};
    uint32_t mb[3] = {MB1_HEADER_MAGIC, 0, -MB1_HEADER_MAGIC};
    uint64_t gfn = PAYLOAD / PAGE_SIZE;

    put(PAYLOAD, &h, sizeof(h));
    put(PAYLOAD + sizeof(h), &p, sizeof(p));
    put(PAYLOAD + CODE, mb, sizeof(mb));
    put(LIST, &gfn, sizeof(gfn));
}

/* No two free frames side by side: memory comes in slices. */
static void fragment(void)
{
    static mfn_t all[30000];
    size_t n = 0;

    while (n < ARRAY_SIZE(all) && mfn_valid(all[n] = buddy_alloc(0, FRAME_IMAGE, OWNER_NONE))) {
        n++;
    }
    assert_true(n < ARRAY_SIZE(all));
    while (n-- > 0) {
        if (all[n].v % 2 == 0) {
            buddy_free(all[n], 0);
        }
    }
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    assert_int_equal(domctl_create("control", 1, true, &control), 0);
    assert_int_equal(domain_add_memory(control, MIB(1)), 0);
    control->vcpus->run_state = VCPU_RUNNABLE;
    assert_int_equal(domctl_start(control), 0);
    put_payload();
    elf_image_make(&elf);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    fragment();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    return 0;
}

/* One execution of the instruction: the call may be left half-done. */
static int64_t call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
    struct vcpu *v = control->vcpus;

    v->gpr[GPR_RAX] = number;
    v->gpr[GPR_RBX] = rbx;
    v->gpr[GPR_RCX] = rcx;
    v->gpr[GPR_RDX] = rdx;
    return hypercall(v);
}

static void do_create(void)
{
    struct hc_dom_create args = {.vcpus = 1};

    args.name[0] = (char)('a' + random_u64() % 6);
    put(ARGS, &args, sizeof(args));
    (void)call(HC_DOM_CREATE, ARGS, sizeof(args), 0);
}

static void do_load(uint64_t id)
{
    const struct hc_dom_load args = {
        .id = (uint32_t)id,
        .list = random_u64() % 8 != 0 ? LIST : BUFFER,
        .pages = 1,
        .bytes = 1 + random_u64() % PAGE_SIZE,
        .module_list = LIST,
        .module_pages = 1,
        .module_bytes = random_u64() % 2 * 100,
        .cmdline = LIST,
        .cmdline_bytes = random_u64() % 20,
    };

    put(ARGS, &args, sizeof(args));
    (void)call(HC_DOM_LOAD, ARGS, sizeof(args), 0);
}

static void do_console(uint64_t number, uint64_t id)
{
    const struct hc_console args = {
        .at = random_u64() % 100, .buffer = BUFFER, .bytes = random_u64() % 3000};

    put(ARGS, &args, sizeof(args));
    (void)call(number, ARGS, sizeof(args), id);
}

static void do_update(void)
{
    char why[LU_REASON_MAX];

    if (lu.exec_requested) {
        lu.exec_requested = false; /* it was refused */
    } else if (lu_load_module(0, why) == 0) {
        assert_int_equal(lu_request_exec(NULL, why), 0);
        requests++;
    }
}

static void step(void)
{
    static const uint64_t sizes[] = {PAGE_SIZE, 3 * PAGE_SIZE, MIB(1), MIB(2), MIB(7), MIB(3)};
    uint64_t id = 1 + random_u64() % 7;

    switch (random_u64() % 16) {
    case 0:
        do_create();
        break;
    case 1:
    case 2:
    case 3:
        (void)call(HC_DOM_MEMORY, id, sizes[random_u64() % ARRAY_SIZE(sizes)], 0);
        break;
    case 4:
    case 5:
    case 6:
        do_load(id);
        break;
    case 7:
        (void)call(HC_DOM_DESTROY, id, 0, 0);
        break;
    case 8:
        (void)call(HC_DOM_STATS, BUFFER, random_u64() % 1000, id);
        break;
    case 9:
        (void)call(HC_DOM_LIST, BUFFER, random_u64() % 1000, id);
        break;
    case 10:
        do_console(HC_CONSOLE_READ + random_u64() % 2, id);
        break;
    case 11:
        if (random_u64() % 8 == 0) {
            do_update();
        }
        break;
    case 12:
        if (id > 1 && domain_find((uint16_t)id) != NULL && random_u64() % 8 == 0) {
            domain_exit(domain_find((uint16_t)id), 3);
        }
        break;
    case 13:
        (void)domain_reap();
        break;
    default:
        (void)call(HC_DOM_START + random_u64() % 3, id, 0, 0);
        break;
    }
}

static void check_domain(const struct domain *d, uint64_t *frames)
{
    uint64_t own = 0, gfn = 0;

    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];
        struct frame_info f = frametable_get(e->mfn);

        assert_int_equal(f.state, FRAME_GUEST);
        assert_int_equal(f.owner, d->id);
        assert_int_equal(f.order, e->order);
        assert_true(e->gfn.v == gfn);
        gfn = e->gfn.v + BIT(e->order);
        own += BIT(e->order);
    }
    *frames += own;
    assert_true(d->state == DOMAIN_DYING ||
                own << PAGE_SHIFT ==
                    d->memory_bytes + (d->growth.phase != GROWTH_NONE ? d->growth.taken : 0));
    for_each_vcpu(d, v) {
        assert_int_equal(v->run_next != NULL, d->state == DOMAIN_RUNNING);
        assert_true(d->state != DOMAIN_RUNNING || v->run_state == VCPU_RUNNABLE);
    }
}

static void check_all(void)
{
    uint64_t frames = 0;

    for_each_domain(d) {
        check_domain(d, &frames);
        /* Nothing half-done is made when an update is due, nor left when it comes. */
        assert_true(!lu.exec_requested || d->growth.phase != GROWTH_TAKE);
        assert_true(domain_reaping() ||
                    (d->state != DOMAIN_DYING && d->growth.phase == GROWTH_NONE));
    }
    assert_int_equal(frametable_count(FRAME_GUEST), frames);
}

static void test_random__calls_in_any_order__nothing_lost(void **state)
{
    struct world_count before = world_count();
    unsigned int states[DOMAIN_DYING + 1] = {0}, grows = 0;

    (void)state;
    for (unsigned int i = 0; i < STEPS; i++) {
        if (random_u64() % 4 == 0) {
            fake_fail_alloc_after((long)(random_u64() % 12));
        }
        step();
        fake_fail_alloc_after(-1);
        check_all();
        for_each_domain(d) {
            states[d->state]++;
            grows += d->growth.phase != GROWTH_NONE ? 1 : 0;
        }
    }
    /* All of that has really happened. */
    for (unsigned int s = 0; s <= DOMAIN_DYING; s++) {
        assert_true(s == DOMAIN_STOPPED || states[s] > 50);
    }
    assert_true(grows > 100 && requests > 50);
    lu.exec_requested = false;
    lu_unload();
    while (control->next != NULL) {
        domain_destroy(control->next);
    }
    for (unsigned int i = 0; i < 3; i++) {
        (void)domain_reap();
    }
    struct world_count after = world_count();
    assert_true(world_count_equal(&before, &after));
    assert_true(memory_account());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_random__calls_in_any_order__nothing_lost, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
