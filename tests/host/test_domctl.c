/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains by hypercall: every call, every refusal, every allocation failing, nothing lost.
 */
#include "hv/domctl.h"

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
#include "hv/console.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/memory.h"
#include "hv/sched.h"
#include "hv/seam.h"
#include "hw/elf.h"
#include "hw/multiboot.h"
#include "hw/ports.h"

#define CONTROL_MEMORY MIB(4)
#define ARGS 0x5ffcU /* structures cross pages */
#define LIST 0x8ff8U
#define MODULE_LIST 0x9ff8U
#define TEXT 0x20000U /* command line and the like */
#define BUFFER 0x30000U
#define PAGES 0x100000U /* scattered payload and module */
#define LOAD_PA 0x200000U
#define CODE 0x100U /* file offset of the segment */
#define CODE_BYTES 0x2345U
#define CODE_MEM 0x5000U
#define FILE_BYTES (CODE + CODE_BYTES)
#define MODULE_BYTES 0x3210U

static struct elf_image elf;
static struct domain *control, *other;
static unsigned int restarts;
static uint8_t file[FILE_BYTES], module[MODULE_BYTES];

static struct domain *add(const char *name, bool is_control)
{
    struct vcpu_state reset;
    struct domain *d;

    assert_int_equal(domctl_create(name, 1, is_control, &d), 0);
    assert_int_equal(domain_add_memory(d, CONTROL_MEMORY), 0);
    vcpu_state_reset(&reset);
    d->vcpus->run_state = VCPU_RUNNABLE;
    assert_int_equal(domctl_start(d), 0);
    return d;
}

static void make_file(void)
{
    struct elf32_header h = {.magic = ELF_MAGIC,
                             .class = ELF_CLASS_32,
                             .data = ELF_DATA_LSB,
                             .ident_version = 1,
                             .type = ELF_TYPE_EXEC,
                             .machine = ELF_MACHINE_386,
                             .version = 1,
                             .entry = LOAD_PA + 0x20,
                             .phoff = sizeof(h),
                             .phentsize = sizeof(struct elf32_phdr),
                             .phnum = 1};
    struct elf32_phdr p = {.type = ELF_PT_LOAD,
                           .offset = CODE,
                           .vaddr = LOAD_PA,
                           .paddr = LOAD_PA,
                           .filesz = CODE_BYTES,
                           .memsz = CODE_MEM};
    uint32_t mb[3] = {MB1_HEADER_MAGIC, 0, -MB1_HEADER_MAGIC};

    for (size_t i = 0; i < FILE_BYTES; i++) {
        file[i] = (uint8_t)(i * 11 + 1);
    }
    for (size_t i = 0; i < MODULE_BYTES; i++) {
        module[i] = (uint8_t)(i * 5 + 3);
    }
    memcpy(file, &h, sizeof(h));
    memcpy(file + sizeof(h), &p, sizeof(p));
    memcpy(file + CODE, mb, sizeof(mb));
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    control = add("control", true);
    other = add("other", false);
    elf_image_make(&elf);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    restarts = 0;
    make_file();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    lu.exec_requested = false;
    return 0;
}

/* A hypercall as a guest makes it: again and again until it is done. */
static int64_t call_of(struct domain *d, uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
    const struct hvm_exit exit = {.reason = HVM_EXIT_HYPERCALL, .insn_length = 3, .code64 = true};
    struct vcpu *v = d->vcpus;
    uint64_t rip = fake_hvm_state(v)->rip;

    for (;;) {
        v->gpr[GPR_RAX] = number;
        v->gpr[GPR_RBX] = rbx;
        v->gpr[GPR_RCX] = rcx;
        v->gpr[GPR_RDX] = rdx;
        exit_handle(v, &exit);
        assert_int_equal(v->gpr[GPR_RBX], rbx);
        assert_int_equal(v->gpr[GPR_RCX], rcx);
        assert_int_equal(v->gpr[GPR_RDX], rdx);
        if (fake_hvm_state(v)->rip == rip + 3) {
            return (int64_t)v->gpr[GPR_RAX];
        }
        assert_int_equal(fake_hvm_state(v)->rip, rip); /* it stays at its instruction */
        assert_int_equal(v->gpr[GPR_RAX], number);
        restarts++;
        assert_true(restarts < 100000);
    }
}

static int64_t call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
    return call_of(control, number, rbx, rcx, rdx);
}

static void put(uint64_t gpa, const void *data, size_t n)
{
    assert_int_equal(domain_write(control, gpa, data, n), 0);
}

static void get(uint64_t gpa, void *data, size_t n)
{
    assert_int_equal(domain_read(control, gpa, data, n), 0);
}

static int64_t create(const char *name)
{
    struct hc_dom_create args = {.vcpus = 1};

    strcpy(args.name, name);
    put(ARGS, &args, sizeof(args));
    return call(HC_DOM_CREATE, ARGS, sizeof(args), 0);
}

static struct domain *created(const char *name, uint64_t memory)
{
    int64_t id = create(name);

    assert_true(id > 0);
    assert_int_equal(call(HC_DOM_MEMORY, (uint64_t)id, memory, 0), 0);
    return domain_find((uint16_t)id);
}

/* Bytes into pages of the caller's, from the last to the first, and their list. */
static void scatter(uint64_t list, uint64_t pages_at, const uint8_t *data, uint64_t bytes)
{
    uint64_t pages = align_up(bytes, PAGE_SIZE) / PAGE_SIZE;

    for (uint64_t i = 0; i < pages; i++) {
        uint64_t gpa = pages_at + (pages - 1 - i) * 2 * PAGE_SIZE, gfn = gpa / PAGE_SIZE;

        put(gpa, data + i * PAGE_SIZE, MIN(PAGE_SIZE, bytes - i * PAGE_SIZE));
        put(list + i * sizeof(gfn), &gfn, sizeof(gfn));
    }
}

static struct hc_dom_load load_args(const struct domain *d)
{
    scatter(LIST, PAGES, file, FILE_BYTES);
    scatter(MODULE_LIST, PAGES + MIB(1), module, MODULE_BYTES);
    put(TEXT, "some words", 10);
    return (struct hc_dom_load){.id = d->id,
                                .list = LIST,
                                .pages = align_up(FILE_BYTES, PAGE_SIZE) / PAGE_SIZE,
                                .bytes = FILE_BYTES,
                                .module_list = MODULE_LIST,
                                .module_pages = align_up(MODULE_BYTES, PAGE_SIZE) / PAGE_SIZE,
                                .module_bytes = MODULE_BYTES,
                                .cmdline = TEXT,
                                .cmdline_bytes = 10};
}

static int64_t load(const struct hc_dom_load *args)
{
    put(ARGS, args, sizeof(*args));
    return call(HC_DOM_LOAD, ARGS, sizeof(*args), 0);
}

static void reap_all(void)
{
    while (domain_reap()) {
    }
    assert_false(domain_reaping());
}

static void assert_counts(const struct world_count *before)
{
    struct world_count now = world_count();

    assert_true(world_count_equal(before, &now));
}

/* ---- who may ---- */

static void test_calls__other_domain__eperm_and_nothing_done(void **state)
{
    (void)state;
    for (uint64_t n = HC_DOM_LIST; n <= HC_CONSOLE_WRITE; n++) {
        assert_int_equal(call_of(other, n, control->id, 64, control->id), -HC_EPERM);
    }
    assert_int_equal(control->state, DOMAIN_RUNNING);
    assert_int_equal(call(HC_CONSOLE_WRITE + 1, 0, 0, 0), -HC_ENOSYS);
}

static void test_pause_destroy__itself__eperm(void **state)
{
    (void)state;
    assert_int_equal(call(HC_DOM_PAUSE, control->id, 0, 0), -HC_EPERM);
    assert_int_equal(call(HC_DOM_DESTROY, control->id, 0, 0), -HC_EPERM);
    assert_int_equal(control->state, DOMAIN_RUNNING);
    assert_non_null(control->vcpus->run_next);
}

static void test_ids__nobody_has_them__enoent(void **state)
{
    static const uint64_t ids[] = {0, 77, 0xfffe, 0xffff, 0x10001, 0x10002, UINT32_MAX};
    struct hc_dom_load args = load_args(other);
    struct hc_console console = {.buffer = BUFFER};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        for (uint64_t n = HC_DOM_START; n <= HC_DOM_DESTROY; n++) {
            assert_int_equal(call(n, ids[i], 0, 0), -HC_ENOENT);
        }
        assert_int_equal(call(HC_DOM_MEMORY, ids[i], PAGE_SIZE, 0), -HC_ENOENT);
        assert_int_equal(call(HC_DOM_STATS, BUFFER, 744, ids[i]), -HC_ENOENT);
        put(ARGS, &console, sizeof(console));
        assert_int_equal(call(HC_CONSOLE_READ, ARGS, sizeof(console), ids[i]), -HC_ENOENT);
        assert_int_equal(call(HC_CONSOLE_WRITE, ARGS, sizeof(console), ids[i]), -HC_ENOENT);
        args.id = (uint32_t)ids[i];
        assert_int_equal(load(&args), -HC_ENOENT);
    }
    assert_int_equal(call(HC_DOM_START, BIT(32) + other->id, 0, 0), -HC_ENOENT);
}

/* ---- list ---- */

static void test_list__sizes_and_ids__in_order_of_ids(void **state)
{
    struct hc_domain d[5];

    (void)state;
    assert_int_equal(call(HC_DOM_DESTROY, other->id, 0, 0), 0);
    reap_all();
    struct domain *third = created("third", MIB(1)); /* id 2, created last */
    assert_int_equal(third->id, 2);
    assert_int_equal(create("fourth"), 3);
    memset(d, 0xee, sizeof(d));
    put(BUFFER, d, sizeof(d));
    assert_int_equal(call(HC_DOM_LIST, BUFFER, sizeof(d), 0), 3);
    get(BUFFER, d, sizeof(d));
    assert_int_equal(d[0].id, 1);
    assert_string_equal(d[0].name, "control");
    assert_int_equal(d[0].flags, HC_DOM_CONTROL);
    assert_int_equal(d[0].state, HC_DOM_RUNNING);
    assert_int_equal(d[0].vcpus, 1);
    assert_int_equal(d[0].memory_bytes, CONTROL_MEMORY);
    assert_int_equal(d[1].id, 2);
    assert_string_equal(d[1].name, "third");
    assert_int_equal(d[1].state, HC_DOM_NEW);
    assert_int_equal(d[1].flags, 0);
    assert_int_equal(d[1].memory_bytes, MIB(1));
    assert_int_equal(d[2].id, 3);
    assert_int_equal(d[3].id, 0xeeeeeeee); /* nothing behind them */
    assert_int_equal(call(HC_DOM_LIST, BUFFER, 2 * sizeof(d[0]) + 63, 2), 2);
    get(BUFFER, d, sizeof(d));
    assert_int_equal(d[0].id, 2);
    assert_int_equal(d[1].id, 3);
    assert_int_equal(call(HC_DOM_LIST, BUFFER, 64, 3), 1);
    assert_int_equal(call(HC_DOM_LIST, BUFFER, 64, 4), 0);
    assert_int_equal(call(HC_DOM_LIST, BUFFER, 64, UINT64_MAX), 0);
    assert_int_equal(call(HC_DOM_LIST, BUFFER, UINT64_MAX, 0), 3);
    assert_int_equal(call(HC_DOM_LIST, BUFFER, 63, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_LIST, CONTROL_MEMORY - 63, 64, 0), -HC_EFAULT);
    assert_int_equal(call(HC_DOM_LIST, UINT64_MAX - 10, 64, 0), -HC_EFAULT);
}

/* ---- create ---- */

static void test_create__arguments__made_or_refused(void **state)
{
    static const struct {
        const char *name;
        uint32_t vcpus, flags;
        int64_t rc;
    } rows[] = {
        {"a", 1, 0, 3},
        {"a", 1, 0, -HC_EEXIST},
        {"control", 1, 0, -HC_EEXIST},
        {"", 1, 0, -HC_EINVAL},
        {"with space", 1, 0, -HC_EINVAL},
        {"brack]et", 1, 0, -HC_EINVAL},
        {"new\nline", 1, 0, -HC_EINVAL},
        {"\x80", 1, 0, -HC_EINVAL},
        {"b", 0, 0, -HC_EINVAL},
        {"b", 256, 0, -HC_EINVAL},
        {"b", UINT32_MAX, 0, -HC_EINVAL},
        {"b", 1, 1, -HC_EINVAL},
        {"a-name_of.thirty-one-characters", 1, 0, 4},
        {"a-name-of-thirty-two-characters-", 1, 0, -HC_EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct hc_dom_create args = {.vcpus = rows[i].vcpus, .flags = rows[i].flags};
        struct world_count before = world_count();

        memcpy(args.name, rows[i].name, strnlen(rows[i].name, sizeof(args.name)));
        put(ARGS, &args, sizeof(args));
        if (call(HC_DOM_CREATE, ARGS, sizeof(args), 0) != rows[i].rc) {
            fail_msg("row %zu", i);
        }
        if (rows[i].rc < 0) {
            assert_counts(&before);
        } else {
            struct domain *d = domain_find((uint16_t)rows[i].rc);

            assert_string_equal(d->name, rows[i].name);
            assert_int_equal(d->state, DOMAIN_NEW);
            assert_int_equal(d->nr_vcpus, 1);
            assert_false(d->control);
            assert_null(d->vcpus->run_next);
        }
    }
    struct hc_dom_create args = {.name = "c", .vcpus = 1};
    put(ARGS, &args, sizeof(args));
    assert_int_equal(call(HC_DOM_CREATE, ARGS, sizeof(args) - 1, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_CREATE, CONTROL_MEMORY - 8, sizeof(args), 0), -HC_EFAULT);
    assert_int_equal(call(HC_DOM_CREATE, ARGS, 4000, 0), 5);
}

static void test_create__each_allocation_fails__enomem_and_nothing_lost(void **state)
{
    struct world_count before = world_count();
    int64_t rc = -HC_ENOMEM;
    long n = 0;

    (void)state;
    for (; rc < 0; n++) {
        fake_fail_alloc_after(n);
        rc = create("new");
        fake_fail_alloc_after(-1);
        if (rc < 0) {
            assert_int_equal(rc, -HC_ENOMEM);
            assert_counts(&before);
            assert_null(domain_find(3));
        }
    }
    assert_true(n > 4);
    assert_int_equal(rc, 3);
}

/* ---- memory ---- */

static void test_memory__several_calls__one_behind_the_other(void **state)
{
    struct domain *d;
    uint64_t gfn = 0;

    (void)state;
    assert_int_equal(create("new"), 3);
    d = domain_find(3);
    assert_int_equal(call(HC_DOM_MEMORY, 3, MIB(2), 0), 0);
    assert_int_equal(call(HC_DOM_MEMORY, 3, PAGE_SIZE, 0), 0);
    assert_int_equal(call(HC_DOM_MEMORY, 3, MIB(3), 0), 0);
    assert_int_equal(d->memory_bytes, MIB(5) + PAGE_SIZE);
    for (size_t i = 0; i < d->extents.nr; i++) {
        assert_int_equal(d->extents.items[i].gfn.v, gfn);
        gfn += BIT(d->extents.items[i].order);
    }
    assert_int_equal(gfn << PAGE_SHIFT, d->memory_bytes);
}

static void test_memory__arguments__refused(void **state)
{
    struct world_count before;

    (void)state;
    assert_int_equal(create("new"), 3);
    before = world_count();
    assert_int_equal(call(HC_DOM_MEMORY, 3, 0, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_MEMORY, 3, 4095, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_MEMORY, 3, MIB(1) + 1, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_MEMORY, 3, DOMCTL_MEMORY_MAX + PAGE_SIZE, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_MEMORY, 3, UINT64_MAX & PAGE_MASK, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_MEMORY, 3, DOMCTL_MEMORY_MAX, 0), -HC_ENOMEM);
    assert_int_equal(call(HC_DOM_MEMORY, 3, GIB(1), 0), -HC_ENOMEM);
    assert_int_equal(call(HC_DOM_MEMORY, other->id, MIB(1), 0), -HC_EINVAL); /* it runs */
    assert_counts(&before);
    /* What molt needs itself stays. */
    uint64_t most = (buddy_free_frames() << PAGE_SHIFT) - MIB(1);
    assert_int_equal(call(HC_DOM_MEMORY, 3, most, 0), -HC_ENOMEM);
    assert_counts(&before);
}

static mfn_t held[30000];
static size_t nr_held;

/* No two free frames side by side. */
static void fragment(void)
{
    nr_held = 0;
    while (nr_held < ARRAY_SIZE(held)) {
        held[nr_held] = buddy_alloc(ORDER_4K, FRAME_IMAGE, OWNER_NONE);
        if (!mfn_valid(held[nr_held])) {
            break;
        }
        nr_held++;
    }
    for (size_t i = 0; i < nr_held; i++) {
        if (held[i].v % 2 == 0) {
            buddy_free(held[i], ORDER_4K);
            held[i] = INVALID_MFN;
        }
    }
}

static void defragment(void)
{
    for (size_t i = 0; i < nr_held; i++) {
        if (mfn_valid(held[i])) {
            buddy_free(held[i], ORDER_4K);
        }
    }
}

static void test_memory__fragmented_heap__in_slices(void **state)
{
    struct domain *d;

    (void)state;
    assert_int_equal(create("new"), 3);
    d = domain_find(3);
    fragment();
    assert_int_equal(call(HC_DOM_MEMORY, 3, MIB(8), 0), 0);
    assert_int_equal(d->extents.nr, 2048);
    assert_true(restarts >= 7); /* no more than some hundred extents at a time */
    assert_int_equal(d->growth.phase, GROWTH_NONE);
    domain_destroy(d);
    defragment();
    assert_true(memory_account());
}

static struct domain *growing;

static void look_at_growth(void)
{
    if (restarts == 2) {
        struct domain *d = growing;
        struct hc_dom_load args = load_args(d);

        /* Another call comes between: it is refused, and that the memory is not there is seen. */
        assert_int_equal(d->memory_bytes, 0);
        assert_int_equal(call(HC_DOM_MEMORY, d->id, MIB(1), 0), -HC_EBUSY);
        assert_int_equal(load(&args), -HC_EBUSY);
        assert_int_equal(call(HC_DOM_START, d->id, 0, 0), -HC_ENOEXEC);
    }
}

static void test_memory__while_it_is_added__others_ebusy(void **state)
{
    (void)state;
    assert_int_equal(create("new"), 3);
    growing = domain_find(3);
    fragment();
    for (;;) {
        struct vcpu *v = control->vcpus;

        v->gpr[GPR_RAX] = HC_DOM_MEMORY;
        v->gpr[GPR_RBX] = 3;
        v->gpr[GPR_RCX] = MIB(8);
        if (hypercall(v) == 0) {
            break;
        }
        restarts++;
        look_at_growth();
    }
    assert_int_equal(growing->memory_bytes, MIB(8));
    domain_destroy(growing);
    defragment();
}

static void test_memory__destroyed_half_way__given_back(void **state)
{
    struct vcpu *v = control->vcpus;
    struct world_count before;

    (void)state;
    fragment();
    before = world_count();
    assert_int_equal(create("new"), 3);
    v->gpr[GPR_RAX] = HC_DOM_MEMORY;
    v->gpr[GPR_RBX] = 3;
    v->gpr[GPR_RCX] = MIB(8);
    assert_int_equal(hypercall(v), HYPERCALL_RESTART);
    assert_true(domain_find(3)->extents.nr > 0);
    assert_int_equal(call(HC_DOM_DESTROY, 3, 0, 0), 0);
    reap_all();
    assert_counts(&before);
    v->gpr[GPR_RAX] = HC_DOM_MEMORY;
    v->gpr[GPR_RBX] = 3;
    v->gpr[GPR_RCX] = MIB(8);
    assert_int_equal(hypercall(v), -HC_ENOENT);
    defragment();
}

static void test_memory__each_allocation_fails__enomem_and_nothing_lost(void **state)
{
    struct world_count before;
    int64_t rc = -HC_ENOMEM;
    long n = 0;

    (void)state;
    assert_int_equal(create("new"), 3);
    before = world_count();
    for (; rc != 0; n++) {
        fake_fail_alloc_after(n);
        rc = call(HC_DOM_MEMORY, 3, MIB(3) + 5 * PAGE_SIZE, 0);
        fake_fail_alloc_after(-1);
        if (rc != 0) {
            assert_int_equal(rc, -HC_ENOMEM);
            assert_counts(&before);
            assert_int_equal(domain_find(3)->memory_bytes, 0);
        }
    }
    assert_true(n > 4);
    assert_int_equal(domain_find(3)->memory_bytes, MIB(3) + 5 * PAGE_SIZE);
}

/* ---- an update between two slices ---- */

static void request_update(void)
{
    char why[LU_REASON_MAX];

    assert_int_equal(lu_load_module(0, why), 0);
    fake_cpu.last_exit_tsc = tsc_read();
    assert_int_equal(lu_request_exec(NULL, why), 0);
    fake_cpu.last_exit_tsc = tsc_read();
}

/* What was prepared at the load is prepared again. */
static void assert_due_after_work(void)
{
    assert_false(lu_due());
    while (lu_work()) {
    }
    assert_true(lu_due());
}

static void test_memory__update_asked_for__dropped_first_and_begun_anew(void **state)
{
    struct vcpu *v = control->vcpus;
    struct domain *d;

    (void)state;
    assert_int_equal(create("new"), 3);
    d = domain_find(3);
    fragment();
    v->gpr[GPR_RAX] = HC_DOM_MEMORY;
    v->gpr[GPR_RBX] = 3;
    v->gpr[GPR_RCX] = MIB(8);
    assert_int_equal(hypercall(v), HYPERCALL_RESTART);
    assert_int_equal(hypercall(v), HYPERCALL_RESTART);
    size_t taken = d->extents.nr;
    assert_true(taken > 256);
    defragment();
    request_update();
    assert_false(lu_due()); /* first all of it is given back */
    assert_true(domain_reap());
    assert_true(d->extents.nr < taken && d->extents.nr > 0);
    assert_false(lu_due());
    assert_int_equal(hypercall(v), HYPERCALL_RESTART); /* waits for the update */
    assert_true(d->extents.nr < taken);
    reap_all();
    assert_int_equal(d->extents.nr, 0);
    assert_int_equal(d->memory_bytes, 0);
    assert_due_after_work();
    assert_int_equal(hypercall(v), HYPERCALL_RESTART);
    assert_int_equal(d->extents.nr, 0);
    assert_int_equal(v->gpr[GPR_RAX], HC_DOM_MEMORY);
    /* So do the other calls that change what there is. */
    put(ARGS, &(struct hc_dom_create){.name = "more", .vcpus = 1}, sizeof(struct hc_dom_create));
    v->gpr[GPR_RAX] = HC_DOM_CREATE;
    v->gpr[GPR_RBX] = ARGS;
    v->gpr[GPR_RCX] = sizeof(struct hc_dom_create);
    assert_int_equal(hypercall(v), HYPERCALL_RESTART);
    v->gpr[GPR_RAX] = HC_DOM_DESTROY;
    v->gpr[GPR_RBX] = 3;
    assert_int_equal(hypercall(v), HYPERCALL_RESTART);
    assert_int_equal(d->state, DOMAIN_NEW);
    lu.exec_requested = false; /* it was refused */
    assert_int_equal(call(HC_DOM_MEMORY, 3, MIB(8), 0), 0);
    assert_int_equal(d->memory_bytes, MIB(8));
    lu_unload();
}

static void test_destroy__update_asked_for__waits_until_it_is_gone(void **state)
{
    (void)state;
    assert_int_equal(call(HC_DOM_DESTROY, other->id, 0, 0), 0);
    request_update();
    assert_false(lu_due());
    assert_false(lu_work());
    reap_all();
    assert_due_after_work();
    lu.exec_requested = false;
    lu_unload();
}

/* Whoever asked for an update may be gone when it comes. */
static void test_destroy__who_asked_for_an_update__forgotten(void **state)
{
    (void)state;
    lu.exec_caller = other->vcpus;
    assert_int_equal(call(HC_DOM_DESTROY, other->id, 0, 0), 0);
    reap_all();
    assert_null(lu.exec_caller);
}

/* ---- load ---- */

static bool all_zero_in(struct domain *d, uint64_t start, uint64_t end)
{
    for (uint64_t at = start; at < end; at++) {
        uint8_t byte;

        assert_int_equal(domain_read(d, at, &byte, 1), 0);
        if (byte != 0) {
            return false;
        }
    }
    return true;
}

static bool holds(struct domain *d, uint64_t start, uint64_t end, const void *bytes, size_t n)
{
    uint8_t *all = malloc(end - start);
    bool found = false;

    assert_non_null(all);
    assert_int_equal(domain_read(d, start, all, end - start), 0);
    for (size_t i = 0; !found && i + n <= end - start; i++) {
        found = memcmp(all + i, bytes, n) == 0;
    }
    free(all);
    return found;
}

static void assert_loaded(struct domain *d)
{
    uint8_t text[CODE_BYTES];
    struct vcpu_state s;

    assert_int_equal(domain_read(d, LOAD_PA, text, sizeof(text)), 0);
    assert_memory_equal(text, file + CODE, sizeof(text));
    assert_true(all_zero_in(d, LOAD_PA + CODE_BYTES, LOAD_PA + CODE_MEM));
    assert_true(holds(d, LOAD_PA, d->memory_bytes, module, sizeof(module)));
    assert_true(holds(d, LOAD_PA, d->memory_bytes, "some words", 11));
    vcpu_get_state(d->vcpus, &s);
    assert_int_equal(s.rip, LOAD_PA + 0x20);
    assert_int_equal(s.gpr[GPR_RAX], MB1_BOOT_MAGIC);
}

/* What was there before is gone, and the payload's pages are the caller's again. */
static void test_load__payload_module_cmdline__in_zeroed_memory(void **state)
{
    struct domain *dirty = created("dirty", MIB(8)), *d;
    struct hc_dom_load args;

    (void)state;
    for (size_t i = 0; i < dirty->extents.nr; i++) {
        const struct extent *e = &dirty->extents.items[i];

        memset(mfn_to_va(e->mfn), 0x77, PAGE_SIZE << e->order);
    }
    assert_int_equal(call(HC_DOM_DESTROY, dirty->id, 0, 0), 0);
    reap_all();
    d = created("new", MIB(8));
    args = load_args(d);
    restarts = 0;
    struct world_count before = world_count();
    assert_int_equal(load(&args), 0);
    assert_counts(&before);
    assert_true(restarts >= MIB(8) / MIB(2) - 1); /* zeroed in slices */
    assert_loaded(d);
    assert_true(all_zero_in(d, MIB(6), MIB(8)));
    assert_int_equal(d->state, DOMAIN_NEW);
    assert_null(d->vcpus->run_next);
    assert_int_equal(load(&args), -HC_EINVAL); /* once is enough */
    assert_int_equal(call(HC_DOM_MEMORY, d->id, MIB(1), 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_START, d->id, 0, 0), 0);
    assert_non_null(d->vcpus->run_next);
    assert_int_equal(load(&args), -HC_EINVAL);
}

static void test_load__no_module_and_no_cmdline__loaded(void **state)
{
    struct domain *d = created("new", MIB(4));
    struct hc_dom_load args = load_args(d);

    (void)state;
    args.module_bytes = args.cmdline_bytes = 0;
    args.module_list = args.module_pages = args.cmdline = UINT64_MAX;
    assert_int_equal(load(&args), 0);
    assert_false(holds(d, LOAD_PA, MIB(4), module, sizeof(module)));
}

static void test_load__arguments__refused_and_nothing_lost(void **state)
{
    struct domain *d = created("new", MIB(4));
    const struct hc_dom_load good = load_args(d);
    struct world_count before;

#define ROW(error, change)                                              \
    do {                                                                \
        struct hc_dom_load a = good;                                    \
        change;                                                         \
        assert_int_equal(load(&a), -(error));                           \
        assert_counts(&before);                                         \
        assert_int_equal(d->state, DOMAIN_NEW);                         \
        assert_int_equal(call(HC_DOM_START, d->id, 0, 0), -HC_ENOEXEC); \
    } while (0)
    (void)state;
    before = world_count();
    ROW(HC_EINVAL, a.reserved = 1);
    ROW(HC_EINVAL, a.id = other->id);
    ROW(HC_EINVAL, a.pages = 0);
    ROW(HC_EINVAL, a.bytes = 0);
    ROW(HC_EINVAL, a.pages++);
    ROW(HC_EINVAL, a.bytes = a.pages * PAGE_SIZE + 1);
    ROW(HC_EINVAL, a.pages = UINT64_MAX);
    ROW(HC_E2BIG, (a.pages = CONTROL_MEMORY / PAGE_SIZE + 1, a.bytes = a.pages * PAGE_SIZE));
    ROW(HC_EFAULT, a.list = CONTROL_MEMORY - 8);
    ROW(HC_EFAULT, a.list = UINT64_MAX - 3);
    ROW(HC_EFAULT, a.list = TEXT); /* no frame numbers */
    ROW(HC_EINVAL, a.module_pages = 1);
    ROW(HC_EINVAL, (a.module_pages = 0, a.module_bytes = 1));
    ROW(HC_E2BIG,
        (a.module_pages = CONTROL_MEMORY / PAGE_SIZE + 1, a.module_bytes = a.module_pages << 12));
    ROW(HC_EFAULT, a.module_list = CONTROL_MEMORY);
    ROW(HC_E2BIG, a.cmdline_bytes = 4097);
    ROW(HC_E2BIG, a.cmdline_bytes = UINT64_MAX);
    ROW(HC_EFAULT, a.cmdline = CONTROL_MEMORY - 5);
    ROW(HC_ENOEXEC, (a.list = MODULE_LIST, a.pages = a.module_pages, a.bytes = MODULE_BYTES));
#undef ROW
    put(ARGS, &good, sizeof(good));
    assert_int_equal(call(HC_DOM_LOAD, ARGS, sizeof(good) - 1, 0), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_LOAD, CONTROL_MEMORY - 71, sizeof(good), 0), -HC_EFAULT);
    assert_int_equal(create("empty"), 4);
    struct hc_dom_load a = good;
    a.id = 4;
    assert_int_equal(load(&a), -HC_ENOSPC);
    assert_int_equal(load(&good), 0);
}

/* The payload went in, its module did not: the next load finds zeros again. */
static void test_load__does_not_fit__memory_zero_for_the_next_one(void **state)
{
    struct domain *d = created("new", LOAD_PA + MIB(1));
    struct hc_dom_load args = load_args(d), large;
    uint64_t gfns[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(gfns); i++) {
        gfns[i] = PAGES / PAGE_SIZE;
    }
    put(BUFFER, gfns, sizeof(gfns));
    large = args;
    large.module_list = BUFFER;
    large.module_pages = ARRAY_SIZE(gfns);
    large.module_bytes = large.module_pages * PAGE_SIZE;
    assert_int_equal(load(&large), -HC_ENOSPC);
    assert_true(fake_printed("domain new: not loaded: "));
    assert_false(all_zero_in(d, LOAD_PA, LOAD_PA + 16));
    uint8_t junk = 0x99;
    assert_int_equal(domain_write(d, LOAD_PA + CODE_BYTES + 5, &junk, 1), 0);
    assert_int_equal(load(&args), 0);
    assert_loaded(d);
}

static void test_load__each_allocation_fails__enomem_and_nothing_lost(void **state)
{
    struct domain *d = created("new", MIB(4));
    struct hc_dom_load args = load_args(d);
    struct world_count before = world_count();
    int64_t rc = -HC_ENOMEM;
    long n = 0;

    (void)state;
    for (; rc != 0; n++) {
        fake_fail_alloc_after(n);
        rc = load(&args);
        fake_fail_alloc_after(-1);
        assert_counts(&before);
        if (rc != 0) {
            assert_int_equal(rc, -HC_ENOMEM);
            assert_int_equal(call(HC_DOM_START, d->id, 0, 0), -HC_ENOEXEC);
        }
    }
    assert_true(n > 6);
    assert_loaded(d);
    for (n = 0; n < 4; n++) { /* no room for the mapping of a page */
        struct domain *e = created("other-new", MIB(4));

        args.id = e->id;
        before = world_count();
        fake_vmap_fail_after(n);
        assert_int_equal(load(&args), -HC_ENOMEM);
        fake_vmap_fail_after(-1);
        assert_counts(&before);
        domain_destroy(e);
    }
}

static void test_load__backend_refuses_the_state__enoexec(void **state)
{
    struct domain *d = created("new", MIB(4));
    struct hc_dom_load args = load_args(d);

    (void)state;
    fake_hvm.fail_state_load = -EINVAL;
    assert_int_equal(load(&args), -HC_ENOEXEC);
    fake_hvm.fail_state_load = 0;
    assert_int_equal(call(HC_DOM_START, d->id, 0, 0), -HC_ENOEXEC);
    assert_int_equal(load(&args), 0);
}

/* ---- states ---- */

static void test_states__each_call__allowed_or_einval(void **state)
{
    static const struct {
        enum domain_state state;
        int64_t start, pause, resume, destroy; /* results */
        uint32_t shown;
    } rows[] = {
        {DOMAIN_NEW, 0, -HC_EINVAL, -HC_EINVAL, 0, HC_DOM_NEW},
        {DOMAIN_RUNNING, -HC_EINVAL, 0, -HC_EINVAL, 0, HC_DOM_RUNNING},
        {DOMAIN_PAUSED, -HC_EINVAL, 0, 0, 0, HC_DOM_PAUSED},
        {DOMAIN_EXITED, -HC_EINVAL, -HC_EINVAL, -HC_EINVAL, 0, HC_DOM_EXITED},
        {DOMAIN_STOPPED, -HC_EINVAL, -HC_EINVAL, -HC_EINVAL, 0, HC_DOM_STOPPED},
        {DOMAIN_DYING, -HC_EINVAL, -HC_EINVAL, -HC_EINVAL, -HC_EBUSY, HC_DOM_DYING},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct hc_domain out;

        for (uint64_t n = HC_DOM_START; n <= HC_DOM_DESTROY; n++) {
            const int64_t want[] = {rows[i].start, rows[i].pause, rows[i].resume, rows[i].destroy};
            struct domain *d = created("new", MIB(4));
            struct hc_dom_load args = load_args(d);

            assert_int_equal(load(&args), 0);
            d->state = rows[i].state;
            d->exit_code = 5;
            domctl_describe(d, &out);
            assert_int_equal(out.state, rows[i].shown);
            assert_int_equal(out.exit_code, rows[i].state == DOMAIN_EXITED ? 5 : 0);
            if (call(n, d->id, 0, 0) != want[n - HC_DOM_START]) {
                fail_msg("state %u, call %u", (unsigned int)rows[i].state, (unsigned int)n);
            }
            domain_destroy(d);
        }
    }
}

static void test_pause__vcpus__out_of_the_queue_and_as_they_were(void **state)
{
    struct vcpu *v = other->vcpus;

    (void)state;
    v->run_state = VCPU_SLEEPING;
    v->wake_tsc = 12345;
    assert_int_equal(call(HC_DOM_PAUSE, other->id, 0, 0), 0);
    assert_int_equal(other->state, DOMAIN_PAUSED);
    assert_null(v->run_next);
    assert_int_equal(v->run_state, VCPU_SLEEPING);
    assert_int_equal(v->wake_tsc, 12345);
    assert_int_equal(call(HC_DOM_RESUME, other->id, 0, 0), 0);
    assert_int_equal(other->state, DOMAIN_RUNNING);
    assert_non_null(v->run_next);
    assert_int_equal(v->run_state, VCPU_SLEEPING); /* and due at once, by the scheduler */
    v->run_state = VCPU_DOWN;
    assert_int_equal(call(HC_DOM_PAUSE, other->id, 0, 0), 0);
    assert_int_equal(call(HC_DOM_RESUME, other->id, 0, 0), 0);
    assert_null(v->run_next);
}

/* The call comes back when none of its vCPUs runs any more, on any CPU. */
static void test_pause__runs_on_another_cpu__waited_for(void **state)
{
    (void)state;
    other->vcpus->running = true;
    for (unsigned int i = 0; i < 2; i++) {
        control->vcpus->gpr[GPR_RAX] = HC_DOM_PAUSE;
        control->vcpus->gpr[GPR_RBX] = other->id;
        assert_int_equal(hypercall(control->vcpus), HYPERCALL_RESTART);
        assert_int_equal(other->state, DOMAIN_PAUSED);
        assert_null(other->vcpus->run_next);
    }
    other->vcpus->running = false;
    assert_int_equal(call(HC_DOM_PAUSE, other->id, 0, 0), 0);
}

/* ---- destroy ---- */

static void test_destroy__many_extents__in_slices_and_all_given_back(void **state)
{
    struct world_count before;
    unsigned int slices = 0;
    struct domain *d;

    (void)state;
    fragment();
    before = world_count();
    d = created("new", MIB(8));
    for (unsigned int i = 0; i < 300; i++) {
        output_put(&d->output, 'x');
    }
    assert_int_equal(call(HC_DOM_DESTROY, d->id, 0, 0), 0);
    assert_int_equal(d->state, DOMAIN_DYING);
    assert_int_equal(create("new"), -HC_EEXIST);
    while (domain_reaping()) {
        assert_true(domain_reap());
        slices++;
    }
    assert_true(slices >= 8);
    assert_false(domain_reap());
    assert_null(domain_find(3));
    assert_counts(&before);
    assert_int_equal(create("new"), 3);
    defragment();
}

/* The run may end with it (end=control), once. */
static void test_destroy__running_and_ended__its_end_told_once(void **state)
{
    (void)state;
    assert_int_equal(call(HC_DOM_DESTROY, other->id, 0, 0), 0);
    assert_int_equal(fake_ended_domains, 1);
    struct domain *d = created("new", MIB(1));
    domain_exit(d, 0);
    assert_int_equal(fake_ended_domains, 2);
    assert_int_equal(call(HC_DOM_DESTROY, d->id, 0, 0), 0);
    assert_int_equal(fake_ended_domains, 2);
}

static void test_destroy__while_it_is_handled__not_under_its_feet(void **state)
{
    (void)state;
    other->vcpus->running = true; /* somebody types "destroy" in its time slice */
    domain_doom(other);
    assert_false(domain_reap());
    assert_true(domain_reaping());
    domain_exit(other, 1); /* its last exits say nothing any more */
    domain_stop(other, "late");
    assert_int_equal(other->state, DOMAIN_DYING);
    assert_int_equal(fake_ended_domains, 0);
    other->vcpus->running = false;
    reap_all();
    assert_null(domain_find(2));
}

/* ---- statistics ---- */

static void test_stats__sizes__what_happened(void **state)
{
    struct hc_dom_stats s;
    unsigned int k = 0;

    (void)state;
    other->vcpus->exits[HVM_EXIT_IO] = 7;
    other->vcpus->exits[HVM_EXIT_CPUID] = 2;
    other->vcpus->run_cycles = 1234567;
    for (unsigned int i = 0; i < 20; i++) {
        output_put(&other->output, 'x');
    }
    memset(&s, 0xee, sizeof(s));
    assert_int_equal(call(HC_DOM_STATS, BUFFER, sizeof(s), other->id), 0);
    get(BUFFER, &s, sizeof(s));
    assert_int_equal(s.run_cycles, 1234567);
    assert_int_equal(s.console_bytes, 20);
    for (unsigned int i = 0; i < HC_EXIT_KINDS; i++) {
        uint64_t want = strcmp(s.exit_names[i], "io") == 0      ? 7
                        : strcmp(s.exit_names[i], "cpuid") == 0 ? 2
                                                                : 0;
        assert_int_equal(s.exits[i], want);
        k += s.exits[i] != 0 ? 1 : 0;
        assert_true((s.exit_names[i][0] != '\0') == (i < HVM_EXIT_REASONS));
    }
    assert_int_equal(k, 2);
    uint64_t bytes = 0;
    for (unsigned int i = 0; i < HC_ORDERS; i++) {
        bytes += s.extents[i] << (i + PAGE_SHIFT);
    }
    assert_int_equal(bytes, CONTROL_MEMORY);
    assert_int_equal(call(HC_DOM_STATS, BUFFER, 0, other->id), -HC_EINVAL);
    assert_int_equal(call(HC_DOM_STATS, CONTROL_MEMORY - 8, 16, other->id), -HC_EFAULT);
    assert_int_equal(call(HC_DOM_STATS, CONTROL_MEMORY - 8, 8, other->id), 0);
}

/* ---- console ---- */

static int64_t console(uint64_t number, struct hc_console *c)
{
    int64_t rc;

    put(ARGS, c, sizeof(*c));
    rc = call(number, ARGS, sizeof(*c), other->id);
    get(ARGS, c, sizeof(*c));
    return rc;
}

static void test_console_read__positions__bytes_in_order(void **state)
{
    struct hc_console c = {.buffer = BUFFER, .bytes = 7};
    char text[32] = {0};

    (void)state;
    assert_int_equal(console(HC_CONSOLE_READ, &c), 0);
    for (const char *p = "Hello, world\r\n"; *p != '\0'; p++) {
        assert_true(vuart_write(other, UART_DATA, (uint8_t)*p));
    }
    assert_int_equal(console(HC_CONSOLE_READ, &c), 7);
    assert_int_equal(c.at, 7);
    c.buffer += 7;
    c.bytes = 100;
    assert_int_equal(console(HC_CONSOLE_READ, &c), 7);
    assert_int_equal(c.at, 14);
    get(BUFFER, text, 14);
    assert_string_equal(text, "Hello, world\r\n");
    assert_int_equal(console(HC_CONSOLE_READ, &c), 0);
    for (unsigned int i = 0; i < 2 * OUTPUT_BYTES; i++) {
        output_put(&other->output, (uint8_t)i);
    }
    c = (struct hc_console){.at = 14, .buffer = BUFFER, .bytes = UINT64_MAX};
    assert_int_equal(console(HC_CONSOLE_READ, &c), OUTPUT_BYTES); /* the others are skipped */
    assert_int_equal(c.at, 14 + 2 * OUTPUT_BYTES);
}

static void test_console_read__arguments__refused(void **state)
{
    struct hc_console c = {.buffer = CONTROL_MEMORY - 3, .bytes = 10};

    (void)state;
    for (unsigned int i = 0; i < 10; i++) {
        output_put(&other->output, 'x');
    }
    assert_int_equal(console(HC_CONSOLE_READ, &c), -HC_EFAULT);
    assert_int_equal(c.at, 0);
    c.at = 11; /* nothing is there yet */
    assert_int_equal(console(HC_CONSOLE_READ, &c), -HC_EINVAL);
    assert_int_equal(call(HC_CONSOLE_READ, ARGS, 23, other->id), -HC_EINVAL);
    assert_int_equal(call(HC_CONSOLE_READ, CONTROL_MEMORY - 23, 24, other->id), -HC_EFAULT);
    c = (struct hc_console){.buffer = CONTROL_MEMORY - 3, .bytes = 3};
    assert_int_equal(console(HC_CONSOLE_READ, &c), 3);
}

static void test_console_write__fifo__as_many_as_fit(void **state)
{
    struct hc_console c = {.buffer = BUFFER, .bytes = 20};

    (void)state;
    put(BUFFER, "twenty bytes of text", 20);
    assert_int_equal(console(HC_CONSOLE_WRITE, &c), 1); /* without FIFO */
    assert_int_equal(vuart_read(other, UART_DATA), 't');
    assert_true(vuart_write(other, UART_FCR, UART_FCR_ENABLE));
    assert_int_equal(console(HC_CONSOLE_WRITE, &c), 16);
    for (unsigned int i = 0; i < 16; i++) {
        assert_int_equal(vuart_read(other, UART_DATA), "twenty bytes of text"[i]);
    }
    assert_int_equal(vuart_read(other, UART_LSR) & UART_LSR_OE, 0);
    c.bytes = 0;
    assert_int_equal(console(HC_CONSOLE_WRITE, &c), 0);
    c = (struct hc_console){.buffer = CONTROL_MEMORY - 1, .bytes = 2};
    assert_int_equal(console(HC_CONSOLE_WRITE, &c), -HC_EFAULT);
    assert_int_equal(other->uart.rx_count, 0);
    c.bytes = 1;
    assert_int_equal(console(HC_CONSOLE_WRITE, &c), 1);
}

static void test_find__names_and_numbers__as_typed(void **state)
{
    (void)state;
    assert_ptr_equal(domctl_find("other", 5), other);
    assert_ptr_equal(domctl_find("2", 1), other);
    assert_ptr_equal(domctl_find("0x1", 3), control);
    assert_null(domctl_find("", 0));
    assert_null(domctl_find("oth", 3));
    assert_null(domctl_find("65538", 5));
    assert_null(domctl_find("7", 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls__other_domain__eperm_and_nothing_done),
        TEST(test_pause_destroy__itself__eperm),
        TEST(test_ids__nobody_has_them__enoent),
        TEST(test_list__sizes_and_ids__in_order_of_ids),
        TEST(test_create__arguments__made_or_refused),
        TEST(test_create__each_allocation_fails__enomem_and_nothing_lost),
        TEST(test_memory__several_calls__one_behind_the_other),
        TEST(test_memory__arguments__refused),
        TEST(test_memory__fragmented_heap__in_slices),
        TEST(test_memory__while_it_is_added__others_ebusy),
        TEST(test_memory__destroyed_half_way__given_back),
        TEST(test_memory__each_allocation_fails__enomem_and_nothing_lost),
        TEST(test_memory__update_asked_for__dropped_first_and_begun_anew),
        TEST(test_destroy__update_asked_for__waits_until_it_is_gone),
        TEST(test_destroy__who_asked_for_an_update__forgotten),
        TEST(test_load__payload_module_cmdline__in_zeroed_memory),
        TEST(test_load__no_module_and_no_cmdline__loaded),
        TEST(test_load__arguments__refused_and_nothing_lost),
        TEST(test_load__does_not_fit__memory_zero_for_the_next_one),
        TEST(test_load__each_allocation_fails__enomem_and_nothing_lost),
        TEST(test_load__backend_refuses_the_state__enoexec),
        TEST(test_states__each_call__allowed_or_einval),
        TEST(test_pause__vcpus__out_of_the_queue_and_as_they_were),
        TEST(test_pause__runs_on_another_cpu__waited_for),
        TEST(test_destroy__many_extents__in_slices_and_all_given_back),
        TEST(test_destroy__running_and_ended__its_end_told_once),
        TEST(test_destroy__while_it_is_handled__not_under_its_feet),
        TEST(test_stats__sizes__what_happened),
        TEST(test_console_read__positions__bytes_in_order),
        TEST(test_console_read__arguments__refused),
        TEST(test_console_write__fifo__as_many_as_fit),
        TEST(test_find__names_and_numbers__as_typed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
