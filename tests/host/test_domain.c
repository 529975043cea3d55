/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Domains: memory, guest-physical access, life.
 */
#include "hv/domain.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/console.h"
#include "hv/crc32c.h"
#include "hv/errno.h"
#include "hv/exit.h"
#include "hv/sched.h"
#include "hv/seam.h"

static struct world_count at_start;
static bool gigabytes; /* more memory than can be touched */

static int setup(void **state)
{
    (void)state;
    world_reset();
    world_boot(0, true);
    at_start = world_count();
    return 0;
}

/* Every test gives everything back. */
static int teardown(void **state)
{
    (void)state;
    gigabytes = false;
    fake_fail_alloc_after(-1);
    while (domain_list != NULL) {
        domain_destroy(domain_list);
    }
    struct world_count now = world_count();
    assert_true(world_count_equal(&at_start, &now));
    return 0;
}

/* ---- life ---- */

static void test_create__table__made_or_refused(void **state)
{
    static const struct {
        const char *name;
        uint16_t id;
        bool made;
    } rows[] = {
        {"a", 1, true},  {"a", 2, false},      {"b", 1, false}, {"", 3, false},
        {"b", 0, false}, {"b", 0xffff, false}, {"b", 0xfffe, true},
        {"a name of thirty-one characters", 4, true},
        {"a name of thirty-two characters!", 5, false},
        {"a name of thirty-one characters, and more", 6, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t generation = domain_generation;
        struct domain *d = domain_create(rows[i].name, rows[i].id, i % 2 != 0);

        if ((d != NULL) != rows[i].made) {
            fail_msg("row %zu", i);
        }
        if (d != NULL) {
            assert_ptr_equal(domain_find(rows[i].id), d);
            assert_string_equal(d->name, rows[i].name);
            assert_int_equal(d->control, i % 2 != 0);
            assert_int_equal(d->state, DOMAIN_RUNNING);
            assert_int_equal(d->memory_bytes, 0);
        }
        assert_int_equal(domain_generation != generation, rows[i].made);
    }
    assert_int_equal(domain_free_id(), 2);
    assert_null(domain_find(77));
}

static void test_create__backend_or_memory_fails__null_and_nothing_kept(void **state)
{
    (void)state;
    fake_hvm.fail_domain_init = -ENOMEM;
    assert_null(domain_create("a", 1, false));
    fake_hvm.fail_domain_init = 0;
    for (long n = 0; n < 2; n++) {
        fake_fail_alloc_after(n);
        assert_null(domain_create("a", 1, false));
        fake_fail_alloc_after(-1);
        assert_null(domain_list);
    }
    assert_non_null(domain_create("a", 1, false));
}

static void test_list__creation_and_removal__order_kept(void **state)
{
    static const uint16_t ids[] = {5, 1, 9, 3};
    struct domain *d;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        assert_non_null(domain_create(name, ids[i], false));
    }
    domain_destroy(domain_find(1));
    domain_destroy(domain_find(3));
    d = domain_list;
    assert_int_equal(d->id, 5);
    assert_int_equal(d->next->id, 9);
    assert_null(d->next->next);
    domain_destroy(domain_find(5));
    assert_int_equal(domain_list->id, 9);
}

static struct domain *with_vcpus(unsigned int nr)
{
    struct domain *d = domain_create("guest", 1, false);
    struct vcpu_state s;

    assert_non_null(d);
    for (unsigned int i = 0; i < nr; i++) {
        world_random_state(&s);
        sched_add(world_add_vcpu(d, &s));
    }
    return d;
}

static void test_exit__running_vcpus__down_and_out_of_the_queue(void **state)
{
    struct domain *d = with_vcpus(3);

    (void)state;
    memcpy(d->uart.line, "last words", 10);
    d->uart.line_length = 10;
    domain_exit(d, 42);
    assert_int_equal(d->state, DOMAIN_EXITED);
    assert_int_equal(d->exit_code, 42);
    assert_null(sched_ring);
    for_each_vcpu(d, v) {
        assert_int_equal(v->run_state, VCPU_DOWN);
        assert_null(v->run_next);
    }
    assert_int_equal(fake_ended_domains, 1);
    assert_true(fake_printed("domain guest exit=42"));
    console_drain();
    assert_non_null(strstr(fake_serial_out(), "[guest] last words\r\n"));
}

static void test_exit__counted_exits__printed_by_reason(void **state)
{
    struct domain *d = with_vcpus(2);

    (void)state;
    d->vcpus->exits[HVM_EXIT_CPUID] = 3;
    d->vcpus->next_in_domain->exits[HVM_EXIT_CPUID] = 4;
    d->vcpus->next_in_domain->exits[HVM_EXIT_UNKNOWN] = 1;
    d->vcpus->run_cycles = 5;
    d->vcpus->next_in_domain->run_cycles = 6;
    domain_exit(d, 0);
    assert_true(fake_printed("exits guest total=8 cpuid=7 unknown=1 cycles=11"));
}

static void test_exits__every_reason_and_huge_counts__line_is_cut(void **state)
{
    struct domain *d = with_vcpus(1);

    (void)state;
    for (unsigned int i = 0; i < HVM_EXIT_REASONS; i++) {
        d->vcpus->exits[i] = UINT64_MAX;
    }
    exit_print(d);
    assert_true(fake_printed(" timer=18446744073709551615 host=18446744073709551615 "));
}

static void test_stop__reason__printed_with_registers(void **state)
{
    struct domain *d = with_vcpus(1);

    (void)state;
    fake_hvm_state(d->vcpus)->rip = 0x1234567890abcdef;
    domain_stop(d, "it did %s", "wrong");
    assert_int_equal(d->state, DOMAIN_STOPPED);
    assert_int_equal(d->exit_code, 0);
    assert_null(sched_ring);
    assert_int_equal(fake_ended_domains, 1);
    assert_true(fake_printed("domain guest stopped reason=\"it did wrong\""));
    assert_true(fake_printed("rip=1234567890abcdef"));
}

static void test_vcpu_create__each_failure__nothing_kept(void **state)
{
    struct domain *d = domain_create("guest", 1, false);
    struct vcpu_state s;
    struct vcpu *v = NULL;
    long n = 0;
    int rc;

    (void)state;
    world_random_state(&s);
    struct world_count before = world_count();
    fake_hvm.fail_vcpu_init = -ENOMEM;
    assert_int_equal(vcpu_create(d, 0, &s, &v), -ENOMEM);
    fake_hvm.fail_vcpu_init = 0;
    fake_hvm.fail_state_load = -EINVAL;
    assert_int_equal(vcpu_create(d, 0, &s, &v), -EINVAL);
    fake_hvm.fail_state_load = 0;
    do {
        struct world_count now = world_count();
        assert_true(world_count_equal(&before, &now));
        assert_null(d->vcpus);
        assert_int_equal(d->nr_vcpus, 0);
        assert_null(v);
        fake_fail_alloc_after(n++);
        rc = vcpu_create(d, 0, &s, &v);
        fake_fail_alloc_after(-1);
    } while (rc == -ENOMEM);
    assert_int_equal(rc, 0);
    assert_true(n > 3);
    assert_ptr_equal(d->vcpus, v);
}

static void efer(struct vcpu_state *s)
{
    s->efer |= BIT(14);
}
static void cr0(struct vcpu_state *s)
{
    s->cr0 |= BIT(8);
}
static void cr4(struct vcpu_state *s)
{
    s->cr4 |= BIT(13);
}
static void cr8(struct vcpu_state *s)
{
    s->cr8 = 16;
}
static void xcr0_no_x87(struct vcpu_state *s)
{
    s->xcr0 = 2;
}
static void xcr0_more(struct vcpu_state *s)
{
    s->xcr0 |= 0xe0;
}
static void dr6(struct vcpu_state *s)
{
    s->dr6 |= BIT(32);
}
static void dr7(struct vcpu_state *s)
{
    s->dr7 |= BIT(63);
}
static void lstar(struct vcpu_state *s)
{
    s->msr[GUEST_MSR_LSTAR] = BIT(47);
}
static void cstar(struct vcpu_state *s)
{
    s->msr[GUEST_MSR_CSTAR] = BIT(63);
}
static void kernel_gs(struct vcpu_state *s)
{
    s->msr[GUEST_MSR_KERNEL_GS_BASE] = BIT(48);
}
static void sfmask(struct vcpu_state *s)
{
    s->msr[GUEST_MSR_SFMASK] = BIT(32);
}
static void tsc_aux(struct vcpu_state *s)
{
    s->msr[GUEST_MSR_TSC_AUX] = BIT(32);
}
static void pat(struct vcpu_state *s)
{
    s->pat = 2;
}

/* What would fault on the CPU itself is refused before it gets there. */
static void test_vcpu_set_state__impossible_values__einval_and_not_loaded(void **state)
{
    static void (*const changes[])(struct vcpu_state * s) = {
        efer, cr0,   cr4,   cr8,       xcr0_no_x87, xcr0_more, dr6,
        dr7,  lstar, cstar, kernel_gs, sfmask,      tsc_aux,   pat,
    };
    struct domain *d = with_vcpus(1);
    unsigned int loads = fake_hvm.loads;
    struct vcpu_state s;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        world_random_state(&s);
        changes[i](&s);
        if (vcpu_set_state(d->vcpus, &s) != -EINVAL) {
            fail_msg("change %zu is let through", i);
        }
    }
    assert_int_equal(fake_hvm.loads, loads);
    world_random_state(&s);
    assert_int_equal(vcpu_set_state(d->vcpus, &s), 0);
}

static void test_destroy__everything__given_back(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < 3; i++) {
        struct domain *d = with_vcpus(2);

        assert_int_equal(domain_add_memory(d, MIB(5) + PAGE_SIZE), 0);
        fake_cpu.loaded = d->vcpus;
        domain_destroy(d);
        assert_null(fake_cpu.loaded);
        assert_null(sched_ring);
        struct world_count now = world_count();
        assert_true(world_count_equal(&at_start, &now));
    }
    assert_int_equal(fake_hvm.inits, 6);
    assert_int_equal(fake_hvm.finis, 6);
}

/* ---- memory ---- */

static void assert_memory(const struct domain *d, uint64_t bytes)
{
    uint64_t frames = 0;

    assert_int_equal(d->memory_bytes, bytes);
    for (size_t i = 0; i < d->extents.nr; i++) {
        const struct extent *e = &d->extents.items[i];
        struct frame_info f = frametable_get(e->mfn);

        assert_int_equal(f.state, FRAME_GUEST);
        assert_int_equal(f.owner, d->id);
        assert_int_equal(f.head.v, e->mfn.v);
        assert_int_equal(f.order, e->order);
        frames += BIT(e->order);
    }
    assert_int_equal(frames << PAGE_SHIFT, bytes);
}

static void test_add_memory__sizes__largest_extents_and_zeroed(void **state)
{
    static const struct {
        uint64_t bytes;
        size_t extents;
    } rows[] = {
        {PAGE_SIZE, 1}, {3 * PAGE_SIZE, 2}, {MIB(2), 1}, {MIB(2) + PAGE_SIZE, 2}, {MIB(8), 1},
        {MIB(7), 3},    {MIB(16), 1},
    };

    (void)state;
    /* Dirty what will be handed out. */
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct domain *d = domain_create("d", 7, false);

        if (domain_add_memory(d, rows[i].bytes) != 0 || d->extents.nr != rows[i].extents) {
            fail_msg("%llu bytes: %zu extents", (unsigned long long)rows[i].bytes, d->extents.nr);
        }
        assert_memory(d, rows[i].bytes);
        for (size_t k = 0; k < d->extents.nr; k++) {
            const struct extent *e = &d->extents.items[k];
            uint8_t *bytes = mfn_to_va(e->mfn);

            for (uint64_t b = 0; b < PAGE_SIZE << e->order; b += 511) {
                assert_int_equal(bytes[b], 0);
            }
            memset(bytes, 0xa7, PAGE_SIZE << e->order);
        }
        domain_destroy(d);
    }
}

/* Fragmented: no block above 64 KiB is left, and not enough in one place. */
static void test_add_memory__fragmented_heap__smaller_extents(void **state)
{
    static mfn_t held[16384];
    size_t nr = 0;
    struct domain *d = domain_create("d", 7, false);

    (void)state;
    while (nr < ARRAY_SIZE(held)) {
        held[nr] = buddy_alloc(5, FRAME_IMAGE, OWNER_NONE);
        if (!mfn_valid(held[nr])) {
            break;
        }
        nr++;
    }
    for (size_t i = 0; i < nr; i += 2) { /* every other 128 KiB */
        buddy_free(held[i], 5);
    }
    assert_int_equal(domain_add_memory(d, MIB(4)), 0);
    assert_memory(d, MIB(4));
    assert_true(d->extents.nr > 20);
    for (size_t i = 1; i < nr; i += 2) {
        buddy_free(held[i], 5);
    }
}

static void test_add_memory__more_than_there_is__enomem_and_given_back(void **state)
{
    struct domain *d = domain_create("d", 7, false);
    struct world_count before = world_count();

    (void)state;
    assert_int_equal(domain_add_memory(d, GIB(1)), -ENOMEM);
    struct world_count now = world_count();
    assert_true(world_count_equal(&before, &now));
    assert_int_equal(d->memory_bytes, 0);
    assert_int_equal(d->extents.nr, 0);
    assert_int_equal(domain_add_memory(d, MIB(4)), 0);
}

static void test_add_memory__no_memory_at_each_allocation__given_back(void **state)
{
    struct domain *d = domain_create("d", 7, false);
    struct world_count before = world_count();
    long n = 0;
    int rc;

    (void)state;
    for (;;) {
        fake_fail_alloc_after(n++);
        rc = domain_add_memory(d, MIB(3) + 5 * PAGE_SIZE);
        fake_fail_alloc_after(-1);
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        struct world_count now = world_count();
        assert_true(world_count_equal(&before, &now));
        assert_int_equal(d->extents.nr, 0);
    }
    assert_true(n > 4);
    assert_memory(d, MIB(3) + 5 * PAGE_SIZE);
}

/* A machine with much memory: nothing between 3 and 4 GiB, what is more goes on at 4 GiB. */
static void test_add_memory__above_3_gib__hole_and_high_memory(void **state)
{
    static const struct {
        uint64_t bytes, last;
    } rows[] = {
        {GIB(3), GIB(3) - 1}, {GIB(3) + PAGE_SIZE, GIB(4) + PAGE_SIZE - 1}, {GIB(6), GIB(7) - 1},
    };

    (void)state;
    world_reset_low();
    fake_machine_add_ram(GIB(8), GIB(15));
    world_boot(0, true);
    at_start = world_count();
    gigabytes = true;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct domain *d = domain_create("d", 7, false);
        uint8_t byte = 0x5a;

        /* Not cleared here: six gigabytes of fake RAM would be touched. */
        assert_int_equal(domain_add_memory(d, rows[i].bytes), 0);
        assert_memory(d, rows[i].bytes);
        assert_true(d->extents.nr <= 6);
        assert_int_equal(domain_write(d, rows[i].last, &byte, 1), 0);
        assert_int_equal(domain_write(d, rows[i].last + 1, &byte, 1), -EFAULT);
        assert_int_equal(domain_read(d, GIB(3) - 1, &byte, 1), 0);
        assert_int_equal(domain_read(d, GIB(3) - 1, &byte, 2), -EFAULT);
        assert_int_equal(domain_read(d, GIB(3), &byte, 1), -EFAULT);
        assert_int_equal(domain_read(d, GIB(4) - 1, &byte, 1), -EFAULT);
        assert_int_equal(domain_read(d, GIB(4), &byte, 1), rows[i].bytes > GIB(3) ? 0 : -EFAULT);
        domain_destroy(d);
    }
}

/* In place of the weak one: gigabytes are not cleared. */
void frames_zero(mfn_t mfn, uint64_t frames)
{
    if (!gigabytes) {
        memset(mfn_to_va(mfn), 0, frames * PAGE_SIZE);
    }
}

/* ---- access ---- */

#define MODEL_FRAMES 300U

static void test_read_write__random_ranges__as_one_piece_of_memory(void **state)
{
    static uint8_t model[MODEL_FRAMES * PAGE_SIZE], buf[20 * PAGE_SIZE];
    struct domain *d = world_fragmented_domain("d", 1, MODEL_FRAMES);

    (void)state;
    assert_int_equal(domain_read(d, 0, model, sizeof(model)), 0);
    for (unsigned int i = 0; i < 2000; i++) {
        uint64_t gpa = random_u64() % sizeof(model);
        uint64_t len = random_u64() % (i % 10 == 0 ? sizeof(buf) : 5000);
        bool inside = gpa + len <= sizeof(model);

        if (i % 3 == 0) {
            memset(buf, (int)i, len);
            assert_int_equal(domain_write(d, gpa, buf, len), inside ? 0 : -EFAULT);
            if (inside) {
                memset(model + gpa, (int)i, len);
            }
        } else {
            memset(buf, 0xcc, sizeof(buf));
            assert_int_equal(domain_read(d, gpa, buf, len), inside ? 0 : -EFAULT);
            if (inside) {
                assert_memory_equal(buf, model + gpa, len);
            } else {
                assert_true(buf[0] == 0xcc); /* nothing copied */
            }
        }
    }
    static uint8_t all[sizeof(model)];
    assert_int_equal(domain_read(d, 0, all, sizeof(all)), 0);
    assert_memory_equal(all, model, sizeof(all));
    assert_int_equal(domain_digest(d), crc32c(0, model, sizeof(model)));
}

static void test_read_write__edges__efault_and_nothing_copied(void **state)
{
    static const struct {
        uint64_t gpa, len;
        int rc;
    } rows[] = {
        {0, 0, 0},
        {UINT64_MAX, 0, 0},
        {5 * PAGE_SIZE - 1, 1, 0},
        {5 * PAGE_SIZE, 1, -EFAULT},
        {5 * PAGE_SIZE - 1, 2, -EFAULT},
        {0, 5 * PAGE_SIZE + 1, -EFAULT},
        {0, UINT64_MAX, -EFAULT},
        {1, UINT64_MAX, -EFAULT},
        {PAGE_SIZE, UINT64_MAX - PAGE_SIZE + 1, -EFAULT},
        {UINT64_MAX, 1, -EFAULT},
        {UINT64_MAX, 2, -EFAULT},
        {UINT64_MAX - 7, 16, -EFAULT},
        {BIT(52), 8, -EFAULT},
        {BIT(63), 8, -EFAULT},
    };
    static uint8_t buf[6 * PAGE_SIZE];
    struct domain *d = world_fragmented_domain("d", 1, 5);
    struct domain *empty = domain_create("empty", 2, false);
    uint32_t digest = domain_digest(d);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        memset(buf, 0xcc, sizeof(buf));
        assert_int_equal(domain_read(d, rows[i].gpa, buf, rows[i].len), rows[i].rc);
        assert_true(rows[i].rc == 0 || buf[0] == 0xcc);
        if (rows[i].rc != 0) {
            assert_int_equal(domain_write(d, rows[i].gpa, buf, rows[i].len), rows[i].rc);
            assert_int_equal(domain_digest(d), digest);
        }
    }
    assert_int_equal(domain_read(empty, 0, buf, 1), -EFAULT);
    assert_int_equal(domain_digest(empty), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create__table__made_or_refused),
        TEST(test_create__backend_or_memory_fails__null_and_nothing_kept),
        TEST(test_list__creation_and_removal__order_kept),
        TEST(test_exit__running_vcpus__down_and_out_of_the_queue),
        TEST(test_exit__counted_exits__printed_by_reason),
        TEST(test_exits__every_reason_and_huge_counts__line_is_cut),
        TEST(test_stop__reason__printed_with_registers),
        TEST(test_vcpu_create__each_failure__nothing_kept),
        TEST(test_vcpu_set_state__impossible_values__einval_and_not_loaded),
        TEST(test_destroy__everything__given_back),
        TEST(test_add_memory__sizes__largest_extents_and_zeroed),
        TEST(test_add_memory__fragmented_heap__smaller_extents),
        TEST(test_add_memory__more_than_there_is__enomem_and_given_back),
        TEST(test_add_memory__no_memory_at_each_allocation__given_back),
        TEST(test_add_memory__above_3_gib__hole_and_high_memory),
        TEST(test_read_write__random_ranges__as_one_piece_of_memory),
        TEST(test_read_write__edges__efault_and_nothing_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
