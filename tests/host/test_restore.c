/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts over an update: what one image writes, the next one has.
 */
#include "../../lu/lu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/alloc_fail.h"
#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/stream_copy.h"
#include "fakes/world.h"
#include "hv/sched.h"
#include "hv/buddy.h"
#include "hv/console.h"
#include "hv/errno.h"
#include "hv/irq.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/time.h"
#include "hw/ports.h"

static int setup(void **state)
{
    (void)state;
    world_reset();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_fail_alloc_after(-1);
    return 0;
}

/* The next image up to the end of the check; the stream stays the caller's. */
static void next_image(unsigned int arena, bool virtualization, const uint8_t *stream,
                       size_t length, struct stream_reader *reader)
{
    const char *why = "";

    world_boot_closed(arena, virtualization);
    tsc_khz = 0;
    assert_int_equal(stream_open(reader, stream, length, &why), 0);
    if (restore_check(reader, &adopt_keeper, &why) != 0) {
        fail_msg("%s", why);
    }
}

static void adopt(struct stream_reader *reader)
{
    const char *why = "";

    restore_host(reader);
    if (restore_apply(reader, &why) != 0) {
        fail_msg("%s", why);
    }
    why = world_audit();
    if (why != NULL) {
        fail_msg("%s", why);
    }
}

static void assert_same(const char *what, char *before, char *after)
{
    const char *difference = world_facts_differ(before, after);

    if (difference != NULL) {
        fail_msg("%s: %s", what, difference);
    }
}

static void test_restore__sample_through_several_images__every_fact_is_the_same(void **state)
{
    static const bool virtualization[] = {true, false};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(virtualization); i++) {
        world_reset();
        fake_random_seed(i + 1);
        world_boot(0, virtualization[i]);
        world_sample(false);
        uint64_t guest = frametable_count(FRAME_GUEST), module = frametable_count(FRAME_MODULE);

        for (unsigned int n = 1; n <= 4; n++) {
            struct stream_reader reader;
            size_t length;
            fake_shutdown = n == 3;
            char *before = world_facts();
            uint8_t *stream = world_stream(&length);
            uint64_t updates = lu.updates;
            bool queued = sched_ring != NULL;

            next_image(n % 2, virtualization[i], stream, length, &reader);
            adopt(&reader);
            assert_same("one image and the next", before, world_facts());
            assert_int_equal(lu.updates, updates + 1);
            assert_string_equal(lu.from_version, lu_version);
            assert_string_equal(lu.from_build_id, lu_build_id());
            assert_int_equal(sched_ring != NULL, queued);
            while (!buddy_open_step(64)) {
            }
            assert_int_equal(frametable_count(FRAME_GUEST), guest);
            assert_int_equal(frametable_count(FRAME_MODULE), module);
            assert_int_equal(frametable_count(FRAME_STREAM), 0);
            assert_true(memory_account());
            free(stream);
        }
        /* All of it can be given back. */
        while (domain_list != NULL) {
            domain_destroy(domain_list);
        }
        assert_int_equal(frametable_count(FRAME_GUEST), 0);
        assert_null(world_audit());
    }
}

/* A guest that waits for the transmitter's interrupt while the images change gets it. */
static void test_restore__transmitter_was_full__interrupt_line_rises(void **state)
{
    struct stream_reader reader;
    size_t length;

    (void)state;
    world_reset();
    world_boot(0, true);
    struct domain *d = world_fragmented_domain("guest", 1, 5);
    d->uart.ier = UART_IER_TX;
    d->uart.mcr = UART_MCR_OUT2;
    d->uart.tx_blocked = true;
    uint8_t *stream = world_stream(&length);
    next_image(1, true, stream, length, &reader);
    adopt(&reader);
    d = domain_find(1);
    assert_false(d->ioapic.lines >> IRQ_COM1 & 1);
    console_poll();
    assert_true(d->ioapic.lines >> IRQ_COM1 & 1);
    free(stream);
}

static void test_save__nothing_to_carry__a_stream_of_one_page(void **state)
{
    struct stream_reader reader;
    size_t length;

    (void)state;
    world_boot(0, true);
    struct world_count before = world_count();
    uint8_t *stream = world_stream(&length);
    struct world_count after = world_count();

    assert_int_equal(length, PAGE_SIZE);
    assert_true(world_count_equal(&before, &after));
    next_image(1, true, stream, length, &reader);
    adopt(&reader);
    assert_null(domain_list);
    free(stream);
}

static void test_save__streams_of_two_images__equal_but_for_the_counter(void **state)
{
    struct stream_reader reader;
    struct stream_copy one, two;
    size_t length;
    const char *why = "";

    (void)state;
    world_boot(1, true);
    world_sample(false);
    uint8_t *stream = world_stream(&length);
    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
    copy_take(&one, &reader);
    next_image(0, true, stream, length, &reader);
    adopt(&reader);
    free(stream);
    while (!buddy_open_step(64)) {
    }
    stream = world_stream(&length);
    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
    copy_take(&two, &reader);
    free(stream);
    assert_int_equal(one.nr, two.nr);
    ((struct lu_rec_host_state *)copy_at(&one, LU_REC_HOST_STATE, 0))->updates++;
    for (size_t i = 0; i < one.nr; i++) {
        assert_int_equal(one.records[i].type, two.records[i].type);
        assert_int_equal(one.records[i].length, two.records[i].length);
        assert_memory_equal(one.records[i].data, two.records[i].data, one.records[i].length);
    }
    copy_free(&one);
    copy_free(&two);
}

/* The sample's stream with something changed in it, through the next image. */
static void through_next_image(void (*change)(struct stream_copy *c))
{
    struct stream_reader reader;
    struct stream_copy copy;
    size_t length;
    const char *why = "";
    uint8_t *stream = world_stream(&length);

    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
    copy_take(&copy, &reader);
    free(stream);
    change(&copy);
    stream = copy_build(&copy, &length);
    copy_free(&copy);
    next_image(1, hvm != NULL, stream, length, &reader);
    adopt(&reader);
    free(stream);
}

/* Optional records of unknown types before and behind every other. */
static void sprinkle_optional(struct stream_copy *c)
{
    for (size_t i = 1; i <= c->nr; i += 2) {
        copy_insert(c, i, LU_REC_OPTIONAL | 0x777, "what it means is not known", i % 20);
    }
}

static void test_restore__unknown_optional_records_anywhere__skipped(void **state)
{
    (void)state;
    world_boot(0, true);
    world_sample(true);
    char *before = world_facts();
    through_next_image(sprinkle_optional);
    assert_same("with optional records", before, world_facts());
}

static void without_console(struct stream_copy *c)
{
    copy_remove(c, copy_find(c, LU_REC_CONSOLE, 0));
}

static void test_restore__no_console_record__all_else_is_there(void **state)
{
    (void)state;
    world_boot(0, true);
    world_sample(true);
    through_next_image(without_console);
    assert_non_null(domain_find(1));
    assert_non_null(domain_find(2));
}

static void shorter_xsave(struct stream_copy *c)
{
    struct copy_record *r = &c->records[copy_find(c, LU_REC_XSAVE, 0)];
    struct lu_rec_xsave *x;

    copy_resize(r, sizeof(*x) + 576);
    x = (void *)r->data;
    x->bytes = 576;
    x->features = 3;
    r->data[sizeof(*x) + 512] = 3;
}

/* A host with fewer components wrote it: the rest is in its initial state. */
static void test_restore__xsave_of_fewer_components__accepted(void **state)
{
    (void)state;
    world_boot(0, true);
    world_sample(true);
    through_next_image(shorter_xsave);
    const uint8_t *x = domain_find(1)->vcpus->ctx.xsave;

    assert_int_equal(x[512], 3);
    for (uint32_t i = 576; i < fake_xsave_bytes; i++) {
        assert_int_equal(x[i], 0);
    }
}

/* The counted failure of every allocation of check and apply: an error, never a crash. */
static void test_restore__out_of_memory_at_every_allocation__reported(void **state)
{
    struct stream_reader reader;
    size_t length;
    const char *why = "";
    long n = 0;
    bool hit;

    (void)state;
    world_boot(0, true);
    world_sample(true);
    uint8_t *stream = world_stream(&length);
    do {
        int rc;

        world_boot_closed(1, true);
        struct world_count before = world_count();
        assert_int_equal(stream_open(&reader, stream, length, &why), 0);
        fake_fail_alloc_after(n++);
        rc = restore_check(&reader, &adopt_keeper, &why);
        if (rc != 0) {
            fake_fail_alloc_after(-1);
            struct world_count after = world_count();
            assert_int_equal(rc, -ENOMEM);
            assert_true(world_count_equal(&before, &after));
            hit = true;
            continue;
        }
        rc = restore_apply(&reader, &why);
        hit = fake_fail_hit();
        fake_fail_alloc_after(-1);
        assert_int_equal(rc, hit ? -ENOMEM : 0);
        assert_true(why[0] != '\0');
    } while (hit);
    assert_true(n > 5);
    free(stream);
}

static void random_bytes(void *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)to)[i] = (uint8_t)random_u64();
    }
}

/* Any contents that the check lets through. */
static void randomize(struct copy_record *r)
{
    if (r->type == LU_REC_VUART) {
        struct lu_rec_vuart *u = (void *)r->data, old = *u;

        random_bytes(u, sizeof(*u));
        u->domain = old.domain;
        u->tx_length = old.tx_length;
        u->lsr_errors &= 0x1e;
        u->rx_count %= VUART_FIFO + 1;
        u->flags &= LU_VUART_TX_EVENT;
        memset(u->rx + u->rx_count, 0, sizeof(u->rx) - u->rx_count);
    } else if (r->type == LU_REC_CLOCK) {
        struct lu_rec_clock *k = (void *)r->data, old = *k;

        random_bytes(k, sizeof(*k));
        k->domain = old.domain;
        k->reserved = 0;
        k->wall_nsec %= 1000000000;
        k->wall_msr &= ~UINT64_C(3);
    } else if (r->type == LU_REC_VCPU_CLOCK) {
        struct lu_rec_vcpu_clock *k = (void *)r->data;

        k->system_time_msr = random_u64() & ~UINT64_C(2);
    } else if (r->type == LU_REC_LAPIC) {
        struct lu_rec_lapic *a = (void *)r->data, old = *a;

        random_bytes(a, sizeof(*a));
        a->domain = old.domain;
        a->vcpu = old.vcpu;
        a->id = old.id;
        a->tsc_per_tick |= 1;
        a->reserved = 0;
    } else if (r->type == LU_REC_IOAPIC) {
        struct lu_rec_ioapic *io = (void *)r->data, old = *io;

        random_bytes(io, sizeof(*io));
        io->domain = old.domain;
        memset(io->reserved, 0, sizeof(io->reserved));
        io->reserved2 = 0;
    }
}

static struct stream_copy take_apart(const uint8_t *stream, size_t length)
{
    struct stream_copy copy = {.nr = 0};
    struct stream_reader reader;
    const char *why = "";

    assert_int_equal(stream_open(&reader, stream, length, &why), 0);
    copy_take(&copy, &reader);
    return copy;
}

/* Record, model, record: what a device's record says, the next image's record says. */
static void test_restore__devices_of_any_contents__the_same_records_again(void **state)
{
    static const uint32_t types[] = {LU_REC_VUART, LU_REC_CLOCK, LU_REC_VCPU_CLOCK, LU_REC_LAPIC,
                                     LU_REC_IOAPIC};

    (void)state;
    for (unsigned int n = 0; n < 20; n++) {
        struct stream_reader reader;
        size_t length, count = 0;

        world_reset();
        fake_random_seed(n + 1);
        world_boot(0, true);
        world_sample(true);
        uint8_t *stream = world_stream(&length);
        struct stream_copy first = take_apart(stream, length);
        free(stream);
        for (size_t i = 0; i < first.nr; i++) {
            randomize(&first.records[i]);
        }
        stream = copy_build(&first, &length);
        next_image(1, true, stream, length, &reader);
        adopt(&reader);
        free(stream);
        while (!buddy_open_step(64)) {
        }
        stream = world_stream(&length);
        struct stream_copy second = take_apart(stream, length);
        free(stream);
        assert_int_equal(first.nr, second.nr);
        for (size_t i = 0; i < first.nr; i++) {
            const struct copy_record *a = &first.records[i], *b = &second.records[i];

            assert_int_equal(a->type, b->type);
            for (size_t t = 0; t < ARRAY_SIZE(types); t++) {
                if (a->type == types[t]) {
                    assert_int_equal(a->length, b->length);
                    assert_memory_equal(a->data, b->data, a->length);
                    count++;
                }
            }
        }
        assert_true(count >= ARRAY_SIZE(types));
        copy_free(&first);
        copy_free(&second);
    }
}

static void test_restore__backend_refuses_a_state__error(void **state)
{
    struct stream_reader reader;
    size_t length;
    const char *why = "";

    (void)state;
    world_boot(0, true);
    world_sample(true);
    uint8_t *stream = world_stream(&length);
    next_image(1, true, stream, length, &reader);
    fake_hvm.fail_state_load = -EINVAL;
    assert_int_equal(restore_apply(&reader, &why), -EINVAL);
    assert_non_null(strstr(why, "vCPU"));
    free(stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_restore__sample_through_several_images__every_fact_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore__transmitter_was_full__interrupt_line_rises,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_save__nothing_to_carry__a_stream_of_one_page, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_save__streams_of_two_images__equal_but_for_the_counter,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore__unknown_optional_records_anywhere__skipped,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore__no_console_record__all_else_is_there, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_restore__xsave_of_fewer_components__accepted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_restore__out_of_memory_at_every_allocation__reported,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_restore__devices_of_any_contents__the_same_records_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restore__backend_refuses_a_state__error, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
