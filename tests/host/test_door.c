/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The door: IN EAX from HC_DOOR_PORT makes the hypercalls, for the control domain alone; results as
 * wide as the caller's instruction has them, also those that come late.
 */
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/world.h"
#include "hv/domain.h"
#include "hv/domctl.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/sched.h"
#include "public/hypercall.h"

#define RIP 0x1000U
#define HIGH UINT64_C(0x1122334400000000)
#define BUF 0x3000U

static struct domain *control, *other;
static struct elf_image elf;

static struct domain *add(const char *name, uint16_t id, bool is_control)
{
    struct vcpu_state reset;
    struct domain *d = domain_create(name, id, is_control);
    struct vcpu *v;

    vcpu_state_reset(&reset);
    assert_int_equal(domain_add_memory(d, MIB(1)), 0);
    assert_int_equal(vcpu_create(d, 0, &reset, &v), 0);
    sched_add(v);
    return d;
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    control = add("control", 1, true);
    other = add("other", 2, false);
    elf_image_make(&elf);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lu.exec_requested = false;
    lu.exec_caller = NULL;
    lu_unload();
    return 0;
}

static struct hvm_exit in_eax(uint8_t cpl, bool code64)
{
    struct hvm_exit e = {
        .reason = HVM_EXIT_IO, .rip = RIP, .insn_length = 1, .cpl = cpl, .code64 = code64};

    e.io.port = HC_DOOR_PORT;
    e.io.size = 4;
    e.io.in = true;
    return e;
}

/* One exit at RIP with these registers; RDX has the port as after MOV DX. */
static void door(struct domain *d, struct hvm_exit e, uint64_t number, uint64_t rbx, uint64_t rcx)
{
    struct vcpu *v = d->vcpus;

    for (unsigned int r = 0; r < GPR_COUNT; r++) {
        v->gpr[r] = 0x100 + r;
    }
    v->gpr[GPR_RAX] = number;
    v->gpr[GPR_RBX] = rbx;
    v->gpr[GPR_RCX] = rcx;
    v->gpr[GPR_RDX] = HIGH | HC_DOOR_PORT;
    fake_hvm.skips = 0;
    fake_hvm.injects = 0;
    exit_handle(v, &e);
}

static void test_door__control_domain__any_privilege_and_width(void **state)
{
    static const uint8_t levels[] = {0, 1, 3};
    struct hc_info info;

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_SIZE(levels); i++) {
        bool code64 = i % 2 == 0;
        struct vcpu *v = control->vcpus;

        memset(&info, 0, sizeof(info));
        assert_int_equal(domain_write(control, BUF, &info, sizeof(info)), 0);
        door(control, in_eax(levels[i / 2], code64), HC_INFO, BUF, sizeof(info));
        assert_int_equal(fake_hvm.skips, 1);
        assert_int_equal(fake_hvm.skipped, 1);
        assert_int_equal(v->gpr[GPR_RAX], 0);
        assert_int_equal(v->gpr[GPR_RDX], HIGH | HC_DOOR_PORT);
        assert_int_equal(v->gpr[GPR_RSI], 0x100 + GPR_RSI);
        assert_int_equal(v->gpr[GPR_RDI], 0x100 + GPR_RDI);
        assert_int_equal(v->gpr[GPR_RBP], 0x100 + GPR_RBP);
        assert_int_equal(domain_read(control, BUF, &info, sizeof(info)), 0);
        assert_int_equal(info.domain_id, 1);
        door(control, in_eax(levels[i / 2], code64), 99, 0, 0);
        assert_int_equal(v->gpr[GPR_RAX], (uint32_t)-ENOSYS); /* IN EAX clears the upper half */
    }
}

static void test_door__code_of_32_bits__upper_halves_do_not_count(void **state)
{
    (void)state;
    door(control, in_eax(3, false), HIGH | HC_INFO, HIGH | BUF, HIGH | 8);
    assert_int_equal(control->vcpus->gpr[GPR_RAX], 0);
    door(control, in_eax(3, true), HC_INFO, HIGH | BUF, 8);
    assert_int_equal(control->vcpus->gpr[GPR_RAX], (uint32_t)-EFAULT);
    door(control, in_eax(3, true), HIGH | HC_INFO, BUF, 8);
    assert_int_equal(control->vcpus->gpr[GPR_RAX], (uint32_t)-ENOSYS);
}

/* Nothing is there for others, and nothing for another size, direction or form. */
static void test_door__not_the_door__ones_and_no_call(void **state)
{
    struct hvm_exit e = in_eax(3, true);
    uint8_t byte = 0x99;

    (void)state;
    assert_int_equal(domain_write(control, BUF, &byte, 1), 0);
    assert_int_equal(domain_write(other, BUF, &byte, 1), 0);
    door(other, e, HC_INFO, BUF, 8);
    assert_int_equal(other->vcpus->gpr[GPR_RAX], UINT32_MAX);
    assert_int_equal(fake_hvm.skips, 1);
    e.cpl = 0;
    door(other, e, HC_INFO, BUF, 8);
    assert_int_equal(other->vcpus->gpr[GPR_RAX], UINT32_MAX);
    for (uint8_t size = 1; size <= 2; size++) {
        e.io.size = size;
        door(control, e, HC_INFO, BUF, 8);
        assert_int_equal(control->vcpus->gpr[GPR_RAX], size == 1 ? 0xff : 0xffff);
    }
    e.io.size = 4;
    for (uint16_t port = HC_DOOR_PORT - 4; port <= HC_DOOR_PORT + 4; port++) {
        e.io.port = port;
        if (port != HC_DOOR_PORT) {
            door(control, e, HC_INFO, BUF, 8);
            assert_int_equal(control->vcpus->gpr[GPR_RAX], UINT32_MAX);
        }
    }
    e.io.port = HC_DOOR_PORT;
    e.io.in = false;
    door(control, e, HC_INFO, BUF, 8);
    assert_int_equal(control->vcpus->gpr[GPR_RAX], HC_INFO);
    e.io.in = true;
    e.io.string = true;
    e.io.address_size = 8;
    e.io.linear = BUF + 64;
    door(control, e, HC_INFO, BUF, 8);
    assert_int_equal(control->vcpus->gpr[GPR_RAX], HC_INFO);
    assert_int_equal(domain_read(control, BUF, &byte, 1), 0);
    assert_int_equal(byte, 0x99);
    assert_int_equal(domain_read(other, BUF, &byte, 1), 0);
    assert_int_equal(byte, 0x99);
}

static void test_door__sleep__past_the_instruction(void **state)
{
    (void)state;
    door(control, in_eax(3, true), HC_SLEEP, 10, 0);
    assert_int_equal(control->vcpus->run_state, VCPU_SLEEPING);
    assert_int_equal(control->vcpus->gpr[GPR_RAX], 0);
    assert_int_equal(fake_hvm.skips, 1);
}

/* A call that goes on later: the same instruction with the same registers until it is done. */
static void test_door__call_has_to_wait__instruction_again(void **state)
{
    struct domain *d;
    struct vcpu *v = control->vcpus;
    struct hvm_exit e = in_eax(3, true);

    (void)state;
    assert_int_equal(domctl_create("new", 1, false, &d), 0);
    lu.exec_requested = true; /* nothing is added to a domain from now to the update */
    door(control, e, HC_DOM_MEMORY, d->id, MIB(1));
    exit_handle(v, &e);
    assert_int_equal(fake_hvm.skips, 0);
    assert_int_equal(v->gpr[GPR_RAX], HC_DOM_MEMORY);
    assert_int_equal(v->gpr[GPR_RBX], d->id);
    assert_int_equal(v->gpr[GPR_RCX], MIB(1));
    assert_int_equal(v->gpr[GPR_RDX], HIGH | HC_DOOR_PORT);
    assert_int_equal(v->gpr[GPR_RSI], 0x100 + GPR_RSI);
    assert_int_equal(v->gpr[GPR_RDI], 0x100 + GPR_RDI);
    lu.exec_requested = false;
    exit_handle(v, &e);
    assert_int_equal(fake_hvm.skips, 1);
    assert_int_equal(v->gpr[GPR_RAX], 0);
    assert_int_equal(v->gpr[GPR_RDX], HIGH | HC_DOOR_PORT);
    assert_int_equal(d->memory_bytes, MIB(1));
}

static void test_exec__refused_late__result_as_wide_as_the_call(void **state)
{
    static const struct {
        bool door, code64;
    } rows[] = {{true, true}, {true, false}, {false, true}, {false, false}};
    char why[LU_REASON_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct hvm_exit e = in_eax(rows[i].door ? 3 : 0, rows[i].code64);
        struct vcpu *v = control->vcpus;

        if (!rows[i].door) {
            e.reason = HVM_EXIT_HYPERCALL;
        }
        control->extents.items[0].flags = 1; /* the check of the stream refuses this late */
        assert_int_equal(lu_load_module(0, why), 0);
        door(control, e, HC_LU_EXEC, 0, 0);
        assert_int_equal(v->gpr[GPR_RAX], 0);
        assert_true(lu.exec_requested);
        fake_cpu.last_exit_tsc = UINT64_MAX; /* the guests have run since the load */
        lu_poll();
        control->extents.items[0].flags = 0;
        assert_false(lu.exec_requested);
        assert_int_equal(lu.last_result, -EBADMSG);
        assert_int_equal(v->gpr[GPR_RAX],
                         rows[i].code64 && !rows[i].door ? (uint64_t)-EBADMSG : (uint32_t)-EBADMSG);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_door__control_domain__any_privilege_and_width),
        TEST(test_door__code_of_32_bits__upper_halves_do_not_count),
        TEST(test_door__not_the_door__ones_and_no_call),
        TEST(test_door__sleep__past_the_instruction),
        TEST(test_door__call_has_to_wait__instruction_again),
        TEST(test_exec__refused_late__result_as_wide_as_the_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
