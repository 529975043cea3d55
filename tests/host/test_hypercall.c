/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hypercalls: every number, sizes, addresses, privilege.
 */
#include "public/hypercall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lu/lu_priv.h"
#include "fakes/cmocka_inc.h"
#include "fakes/elf_seal.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/domain.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/recorder.h"
#include "hv/sched.h"
#include "hv/time.h"

#define BUF 0x3ffaU /* structures cross pages */

static struct domain *control, *other;
static struct elf_image elf;

static struct vcpu *add(const char *name, uint16_t id, bool is_control)
{
    struct vcpu_state reset;
    struct domain *d = domain_create(name, id, is_control);
    struct vcpu *v;

    vcpu_state_reset(&reset);
    assert_int_equal(domain_add_memory(d, MIB(1)), 0);
    assert_int_equal(vcpu_create(d, 0, &reset, &v), 0);
    sched_add(v);
    return v;
}

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    control = add("control", 1, true)->domain;
    other = add("other", 2, false)->domain;
    elf_image_make(&elf);
    elf_image_seal(&elf);
    (void)world_add_module("image", &elf, IMAGE_FILE_BYTES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lu.exec_requested = false;
    lu_unload();
    return 0;
}

static int64_t call(struct domain *d, uint64_t number, uint64_t rbx, uint64_t rcx)
{
    d->vcpus->gpr[GPR_RAX] = number;
    d->vcpus->gpr[GPR_RBX] = rbx;
    d->vcpus->gpr[GPR_RCX] = rcx;
    return hypercall(d->vcpus);
}

static void get(struct domain *d, void *to, size_t n)
{
    assert_int_equal(domain_read(d, BUF, to, n), 0);
}

static void test_numbers__unknown__enosys(void **state)
{
    static const uint64_t numbers[] = {3, 15, 22, 99, BIT(32), UINT64_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        assert_int_equal(call(control, numbers[i], BUF, 8), -HC_ENOSYS);
        assert_int_equal(call(other, numbers[i], BUF, 8), -HC_ENOSYS);
    }
}

static void test_control_calls__other_domain__eperm_and_no_effect(void **state)
{
    static const uint64_t numbers[] = {HC_LU_REGION, HC_LU_LOAD,  HC_LU_EXEC,
                                       HC_LU_STATUS, HC_LU_AUDIT, HC_LU_LOG};
    uint8_t byte = 0x99;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        assert_int_equal(domain_write(other, BUF, &byte, 1), 0);
        assert_int_equal(call(other, numbers[i], BUF, 512), -HC_EPERM);
        assert_int_equal(domain_read(other, BUF, &byte, 1), 0);
        assert_int_equal(byte, 0x99);
    }
    assert_int_equal(lu.refused, 0);
    assert_false(lu.exec_requested);
}

static void test_info__both_domains__facts(void **state)
{
    struct hc_info info;

    (void)state;
    lu.updates = 12;
    assert_int_equal(call(control, HC_INFO, BUF, sizeof(info)), 0);
    get(control, &info, sizeof(info));
    assert_string_equal(info.version, lu_version);
    assert_string_equal(info.build_id, lu_build_id());
    assert_int_equal(info.domain_id, 1);
    assert_int_equal(info.flags, HC_INFO_CONTROL);
    assert_int_equal(info.updates, 12);
    assert_int_equal(info.tsc_khz, tsc_khz);
    assert_int_equal(info.memory_bytes, MIB(1));
    fake_shutdown = true;
    assert_int_equal(call(other, HC_INFO, BUF, sizeof(info)), 0);
    get(other, &info, sizeof(info));
    assert_int_equal(info.domain_id, 2);
    assert_int_equal(info.flags, HC_INFO_SHUTDOWN);
}

/* min(RCX, its own size) bytes, not one more; an address of which any byte is outside: nothing. */
static void test_outputs__sizes_and_addresses__as_the_contract_says(void **state)
{
    static const struct {
        uint64_t number, size;
    } rows[] = {
        {HC_INFO, sizeof(struct hc_info)},
        {HC_LU_REGION, sizeof(struct hc_lu_region)},
        {HC_LU_STATUS, sizeof(struct hc_lu_status)},
        {HC_LU_AUDIT, sizeof(struct hc_audit)},
    };
    uint8_t bytes[600];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t sizes[] = {1,    8,         rows[i].size - 1, rows[i].size, rows[i].size + 1,
                            4096, UINT64_MAX};
        uint64_t end = MIB(1);

        for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
            uint64_t written = MIN(sizes[k], rows[i].size);

            memset(bytes, 0xee, sizeof(bytes));
            assert_int_equal(domain_write(control, BUF, bytes, sizeof(bytes)), 0);
            assert_int_equal(call(control, rows[i].number, BUF, sizes[k]), 0);
            get(control, bytes, sizeof(bytes));
            for (size_t b = written; b < sizeof(bytes); b++) {
                assert_int_equal(bytes[b], 0xee);
            }
            assert_int_equal(call(control, rows[i].number, end - written, sizes[k]), 0);
            assert_int_equal(call(control, rows[i].number, end - written + 1, sizes[k]),
                             -HC_EFAULT);
            assert_int_equal(call(control, rows[i].number, UINT64_MAX, sizes[k]), -HC_EFAULT);
        }
        assert_int_equal(call(control, rows[i].number, BUF, 0), -HC_EINVAL);
        assert_int_equal(call(control, rows[i].number, end, 1), -HC_EFAULT);
    }
}

static void test_sleep__times__until_then(void **state)
{
    struct vcpu *v = other->vcpus;

    (void)state;
    tsc_khz = 2000000;
    fake_tsc_step = 0;
    fake_tsc = 5000;
    assert_int_equal(call(other, HC_SLEEP, 10, 0), 0);
    assert_int_equal(v->run_state, VCPU_SLEEPING);
    assert_int_equal(v->wake_tsc, 5000 + 10 * 2000);
    assert_int_equal(call(other, HC_SLEEP, 0, 0), 0);
    assert_int_equal(v->wake_tsc, 5000);
    assert_int_equal(call(other, HC_SLEEP, UINT64_C(3600) * 1000 * 1000, 0), 0);
    assert_int_equal(v->wake_tsc, 5000 + UINT64_C(3600) * 1000 * tsc_khz);
    v->run_state = VCPU_RUNNABLE;
    assert_int_equal(call(other, HC_SLEEP, UINT64_C(3600) * 1000 * 1000 + 1, 0), -HC_EINVAL);
    assert_int_equal(call(other, HC_SLEEP, UINT64_MAX, 0), -HC_EINVAL);
    assert_int_equal(v->run_state, VCPU_RUNNABLE);
    assert_int_equal(call(other, HC_YIELD, 0, 0), 0);
    assert_int_equal(v->run_state, VCPU_RUNNABLE);
}

static int64_t load(struct hc_lu_load args, uint64_t size)
{
    int64_t r;

    assert_int_equal(domain_write(control, BUF, &args, sizeof(args)), 0);
    do { /* as a guest executes the instruction again */
        r = call(control, HC_LU_LOAD, BUF, size);
    } while (r == HYPERCALL_RESTART);
    return r;
}

static struct hc_lu_status status(void)
{
    struct hc_lu_status s;

    assert_int_equal(call(control, HC_LU_STATUS, BUF + 0x1000, sizeof(s)), 0);
    assert_int_equal(domain_read(control, BUF + 0x1000, &s, sizeof(s)), 0);
    return s;
}

static void test_load__module__status_tells(void **state)
{
    struct hc_lu_status s;

    (void)state;
    s = status();
    assert_int_equal(s.state, HC_LU_IDLE);
    assert_int_equal(s.modules, 1);
    assert_string_equal(s.loaded_version, "");
    assert_int_equal(load((struct hc_lu_load){.module = HC_LU_MODULE_OTHER}, 32), 0);
    s = status();
    assert_int_equal(s.state, HC_LU_LOADED);
    assert_int_equal(s.last_result, 0);
    assert_int_equal(s.reserved, 0);
    assert_string_equal(s.loaded_version, "0.1.2");
    assert_string_equal(s.reason, "");
    assert_int_equal(load((struct hc_lu_load){.module = 0}, 4000), 0); /* a later, longer layout */
}

static void test_load__arguments_wrong__refused_counted_and_said_why(void **state)
{
    static const struct {
        struct hc_lu_load args;
        uint64_t size;
        int rc;
    } rows[] = {
        {{.module = 5}, 32, HC_ENOENT},
        {{.source = 2}, 32, HC_EINVAL},
        {{.source = UINT32_MAX}, 32, HC_EINVAL},
        {{.module = 0}, 31, HC_EINVAL},
        {{.module = 0}, 0, HC_EINVAL},
        {{.source = HC_LU_SOURCE_PAGES}, 32, HC_EINVAL},
        {{.source = HC_LU_SOURCE_PAGES, .list = MIB(1), .pages = 1, .bytes = 1}, 32, HC_EFAULT},
        {{.source = HC_LU_SOURCE_PAGES, .pages = 257, .bytes = 257 * 4096}, 32, HC_E2BIG},
        {{.source = HC_LU_SOURCE_PAGES, .list = BUF + 0x100, .pages = 1, .bytes = 9}, 32,
         HC_ENOEXEC},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(load(rows[i].args, rows[i].size), -rows[i].rc);
        struct hc_lu_status s = status();
        assert_int_equal(s.last_result, -rows[i].rc);
        assert_int_equal(s.refused, i + 1);
        assert_true(s.reason[0] != '\0');
    }
    assert_int_equal(call(control, HC_LU_LOAD, MIB(1) - 31, 32), -HC_EFAULT);
    assert_int_equal(call(control, HC_LU_LOAD, UINT64_MAX - 8, 32), -HC_EFAULT);
    assert_int_equal(status().refused, ARRAY_SIZE(rows) + 2);
}

static void test_exec__states__enoent_ok_ebusy(void **state)
{
    (void)state;
    assert_int_equal(call(control, HC_LU_EXEC, 0, 0), -HC_ENOENT);
    assert_int_equal(status().last_result, -HC_ENOENT);
    assert_int_equal(load((struct hc_lu_load){.module = 0}, 32), 0);
    assert_int_equal(call(control, HC_LU_EXEC, 0, 0), 0);
    assert_true(lu.exec_requested);
    assert_ptr_equal(lu.exec_caller, control->vcpus);
    assert_int_equal(call(control, HC_LU_EXEC, 0, 0), -HC_EBUSY);
    assert_int_equal(status().last_result, -HC_EBUSY);
}

static void test_region__numbers__as_they_are(void **state)
{
    struct hc_lu_region r;

    (void)state;
    assert_int_equal(call(control, HC_LU_REGION, BUF, sizeof(r)), 0);
    get(control, &r, sizeof(r));
    assert_int_equal(r.base, WORLD_REGION);
    assert_int_equal(r.size, WORLD_REGION_SIZE);
    assert_int_equal(r.arena_size[1], WORLD_REGION_SIZE / 2);
    assert_int_equal(r.active, 0);
    assert_true(r.required > 0 && r.required < MIB(4));
}

static void test_audit__agreement_or_not__tells_both_views(void **state)
{
    struct hc_audit found;
    char want[160];

    (void)state;
    assert_int_equal(call(control, HC_LU_AUDIT, BUF, sizeof(found)), 0);
    get(control, &found, sizeof(found));
    assert_int_equal(found.mismatches, 0);
    assert_true(found.frames > 0);
    assert_string_equal(found.text, "");
    struct extent *e = &other->extents.items[0];
    e->gfn.v += BIT(e->order);
    mfn_t mfn = e->mfn;
    e->mfn = control->extents.items[0].mfn;
    assert_int_equal(call(control, HC_LU_AUDIT, BUF, sizeof(found)), -HC_EBADMSG);
    get(control, &found, sizeof(found));
    snprintf(want, sizeof(want),
             "frametable: GUEST of 1 order %u; extents: domain 2 gfn 0x%llx order %u", e->order,
             (unsigned long long)e->gfn.v, e->order);
    assert_string_equal(found.text, want);
    assert_int_equal(found.mfn, e->mfn.v);
    assert_int_equal(found.mismatches, 2); /* and nobody has what was its own */
    e->mfn = mfn;
    e->gfn.v -= BIT(e->order);
}

/* ---- HC_LU_LOG ---- */

#define LOG_BUF 0x8ff0U /* crosses pages */
static uint8_t ring[RECORDER_BYTES] ALIGNED(RECORDER_BYTES);

static int64_t call_log(struct hc_log *args)
{
    int64_t n;

    assert_int_equal(domain_write(control, BUF, args, sizeof(*args)), 0);
    n = call(control, HC_LU_LOG, BUF, sizeof(*args));
    get(control, args, sizeof(*args));
    return n;
}

static void test_log__lines__whole_and_in_order(void **state)
{
    struct hc_log args = {0, LOG_BUF, 4096};
    char text[20000];

    (void)state;
    recorder_detach();
    assert_int_equal(call_log(&args), 0);
    recorder_create(ring, sizeof(ring));
    assert_int_equal(call_log(&args), 0);
    assert_int_equal(args.from, 0);
    fake_tsc = 5000;
    fake_tsc_step = 1;
    recorder_text("one", 3);
    recorder_step("two");
    int64_t n = call_log(&args);
    assert_int_equal(args.from, 3);
    assert_int_equal(domain_read(control, LOG_BUF, text, (uint64_t)n), 0);
    text[n] = '\0';
    assert_string_equal(text, "1 5000 - 0 line one\n2 5001 - 0 step two\n");
    assert_int_equal(call_log(&args), 0);
    args = (struct hc_log){2, LOG_BUF, 256}; /* room for one at a time */
    recorder_text("three", 5);
    assert_int_equal(call_log(&args), strlen("2 5001 - 0 step two\n"));
    assert_int_equal(args.from, 3);
    assert_int_equal(call_log(&args), strlen("3 5002 - 0 line three\n"));
    assert_int_equal(args.from, 4);

    for (unsigned int i = 0; i < 2000; i++) {
        recorder_text("a line of which there are very many, so that no buffer holds all", 64);
    }
    args = (struct hc_log){0, LOG_BUF, UINT64_MAX};
    uint64_t lines = 0, calls = 0;
    while ((n = call_log(&args)) > 0) {
        assert_true(n <= 16384);
        assert_int_equal(domain_read(control, LOG_BUF, text, (uint64_t)n), 0);
        assert_int_equal(text[n - 1], '\n');
        for (int64_t i = 0; i < n; i++) {
            lines += text[i] == '\n';
        }
        calls++;
    }
    assert_int_equal(n, 0);
    assert_int_equal(lines, sizeof(ring) / LU_LOG_SLOT - 1);
    assert_true(calls > 1);
    assert_int_equal(args.from, 2004);
    recorder_detach();
}

static void test_log__arguments_wrong__nothing_given(void **state)
{
    static const struct {
        uint64_t buffer, bytes;
        int64_t result;
    } rows[] = {
        {LOG_BUF, 255, -HC_EINVAL},        {LOG_BUF, 0, -HC_EINVAL},
        {MIB(1), 4096, -HC_EFAULT},        {MIB(1) - 5, 4096, -HC_EFAULT},
        {UINT64_MAX - 5, 4096, -HC_EFAULT}, {UINT64_MAX, UINT64_MAX, -HC_EFAULT},
    };
    struct hc_log args;

    (void)state;
    recorder_create(ring, sizeof(ring));
    recorder_text("one", 3);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        args = (struct hc_log){0, rows[i].buffer, rows[i].bytes};
        assert_int_equal(call_log(&args), rows[i].result);
        assert_int_equal(args.from, 0);
    }
    args = (struct hc_log){0, LOG_BUF, 4096};
    assert_int_equal(domain_write(control, BUF, &args, sizeof(args)), 0);
    assert_int_equal(call(control, HC_LU_LOG, BUF, sizeof(args) - 1), -HC_EINVAL);
    assert_int_equal(call(control, HC_LU_LOG, MIB(1) - 8, sizeof(args)), -HC_EFAULT);
    assert_int_equal(call(control, HC_LU_LOG, UINT64_MAX, sizeof(args)), -HC_EFAULT);
    assert_int_equal(domain_write(other, BUF, &args, sizeof(args)), 0);
    assert_int_equal(call(other, HC_LU_LOG, BUF, sizeof(args)), -HC_EPERM);
    recorder_detach();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_numbers__unknown__enosys),
        TEST(test_control_calls__other_domain__eperm_and_no_effect),
        TEST(test_info__both_domains__facts),
        TEST(test_outputs__sizes_and_addresses__as_the_contract_says),
        TEST(test_sleep__times__until_then),
        TEST(test_load__module__status_tells),
        TEST(test_load__arguments_wrong__refused_counted_and_said_why),
        TEST(test_exec__states__enoent_ok_ebusy),
        TEST(test_region__numbers__as_they_are),
        TEST(test_log__lines__whole_and_in_order),
        TEST(test_log__arguments_wrong__nothing_given),
        TEST(test_audit__agreement_or_not__tells_both_views),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
