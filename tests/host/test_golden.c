/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The golden streams of each version: read as an image reads them, compared with what is known.
 */
#include "../../lu/lu_priv.h"

#include <stdlib.h>
#include <string.h>

#include "fakes/cmocka_inc.h"
#include "fakes/hvm.h"
#include "fakes/machine.h"
#include "fakes/seam.h"
#include "fakes/world.h"
#include "hv/buddy.h"
#include "hv/console.h"
#include "hv/domctl.h"
#include "hv/errno.h"
#include "hv/memory.h"
#include "hv/modules.h"
#include "hv/percpu.h"
#include "hv/time.h"

/* tests/host/golden/README.md */
__asm__(".section .rodata\n"
        ".balign 4096\n"
        "golden_start: .incbin \"tests/host/golden/stream-v1.bin\"\n"
        "golden_end:\n"
        ".balign 4096\n"
        "golden_domains_start: .incbin \"tests/host/golden/stream-v1-domains.bin\"\n"
        "golden_domains_end:\n"
        ".balign 4096\n"
        "golden_v2_start: .incbin \"tests/host/golden/stream-v2.bin\"\n"
        "golden_v2_end:\n"
        ".balign 4096\n"
        "golden_v2_stops_start: .incbin \"tests/host/golden/stream-v2-stops.bin\"\n"
        "golden_v2_stops_end:\n"
        ".previous\n");
extern const uint8_t golden_start[], golden_end[];
extern const uint8_t golden_domains_start[], golden_domains_end[];
extern const uint8_t golden_v2_start[], golden_v2_end[];
extern const uint8_t golden_v2_stops_start[], golden_v2_stops_end[];

static void adopt(const uint8_t *stream, const uint8_t *end, uint32_t version)
{
    struct stream_reader reader;
    const char *why = "";
    size_t length = (size_t)(end - stream);

    world_reset();
    world_boot_closed(1, true);
    if (stream_open(&reader, stream, length, &why) != 0 ||
        restore_check(&reader, &adopt_keeper, &why) != 0) {
        fail_msg("%s", why);
    }
    assert_int_equal(reader.version, version);
    restore_host(&reader);
    if (restore_apply(&reader, &why) != 0) {
        fail_msg("%s", why);
    }
    while (!buddy_open_step(64)) {
    }
}

static int setup(void **state)
{
    (void)state;
    adopt(golden_start, golden_end, 1);
    return 0;
}

static int setup_domains(void **state)
{
    (void)state;
    adopt(golden_domains_start, golden_domains_end, 1);
    return 0;
}

static int setup_v2(void **state)
{
    (void)state;
    adopt(golden_v2_start, golden_v2_end, 2);
    return 0;
}

static int setup_v2_stops(void **state)
{
    (void)state;
    adopt(golden_v2_stops_start, golden_v2_stops_end, 2);
    return 0;
}

static void test_golden__host__counters_and_writer(void **state)
{
    (void)state;
    assert_int_equal(tsc_khz, 2400000);
    assert_string_equal(lu.from_version, "0.1.0");
    assert_string_equal(lu.from_build_id, "c0ffeec0ffeec0ffeec0ffeec0ffeec0ffee");
    assert_int_equal(lu.updates, 42);
    assert_int_equal(lu.refused, 3);
    assert_int_equal(lu.attempts, 44);
    assert_false(fake_shutdown);
}

static void test_golden__memory__owners_and_extents(void **state)
{
    static const struct {
        uint16_t domain;
        size_t index;
        uint64_t gfn, mfn;
        unsigned int order;
    } extents[] = {
        {1, 0, 0, 0x400, 9},
        {1, 1, 0x200, 0x705, 0},
        {1, 2, 0x201, 0x603, 0},
        {7, 0, 0x10, 0x808, 3},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(extents); i++) {
        const struct extent *e = &domain_find(extents[i].domain)->extents.items[extents[i].index];
        struct frame_info f = frametable_get(mfn_from(extents[i].mfn));

        assert_int_equal(e->gfn.v, extents[i].gfn);
        assert_int_equal(e->mfn.v, extents[i].mfn);
        assert_int_equal(e->order, extents[i].order);
        assert_int_equal(e->flags, 0);
        assert_int_equal(f.state, FRAME_GUEST);
        assert_int_equal(f.owner, extents[i].domain);
        assert_int_equal(f.order, extents[i].order);
    }
    assert_int_equal(frametable_count(FRAME_GUEST), 512 + 2 + 8);
    assert_int_equal(frametable_count(FRAME_MODULE), 3);
    assert_int_equal(modules_images(), 1);
    assert_int_equal(modules_image(0)->start, 0x300000);
    assert_int_equal(modules_image(0)->bytes, 0x2345);
    assert_string_equal(modules_image(0)->cmdline, "image name=next.elf");
    assert_true(memory_account());
}

static void test_golden__domains__names_states_uarts(void **state)
{
    const struct domain *d = domain_list;

    (void)state;
    assert_int_equal(d->id, 1);
    assert_string_equal(d->name, "control");
    assert_true(d->control);
    assert_int_equal(d->state, DOMAIN_RUNNING);
    assert_int_equal(d->exit_code, 0);
    assert_int_equal(d->memory_bytes, MIB(2) + 2 * PAGE_SIZE);
    assert_int_equal(d->extents.nr, 3);
    assert_int_equal(d->nr_vcpus, 2);
    assert_int_equal(d->uart.ier, 5);
    assert_int_equal(d->uart.lcr, 3);
    assert_int_equal(d->uart.mcr, 0x0b);
    assert_int_equal(d->uart.scr, 0x99);
    assert_int_equal(d->uart.fcr, 0xc1);
    assert_int_equal(d->uart.lsr_errors, 2);
    assert_int_equal(d->uart.divisor, 12);
    assert_int_equal(d->uart.rx_count, 5);
    assert_memory_equal(d->uart.rx, "typed", 5);
    assert_true(d->uart.tx_event);
    assert_int_equal(d->uart.line_length, 16);
    assert_memory_equal(d->uart.line, "not yet complete", 16);
    d = d->next;
    assert_int_equal(d->id, 7);
    assert_string_equal(d->name, "done");
    assert_false(d->control);
    assert_int_equal(d->state, DOMAIN_EXITED);
    assert_int_equal(d->exit_code, 42);
    assert_int_equal(d->memory_bytes, 8 * PAGE_SIZE);
    assert_int_equal(d->nr_vcpus, 1);
    assert_int_equal(d->uart.lcr, 0x83);
    assert_int_equal(d->uart.divisor, 1);
    assert_int_equal(d->uart.rx_count, 0);
    assert_int_equal(d->uart.line_length, 0);
    assert_null(d->next);
}

static void assert_registers(struct vcpu *v, uint64_t seed)
{
    struct vcpu_state s;
    uint64_t top = seed << 56;

    vcpu_get_state(v, &s);
    for (unsigned int i = 0; i < GPR_COUNT; i++) {
        assert_int_equal(s.gpr[i], top | (0x100 + i));
    }
    assert_int_equal(s.rip, top | 0x200);
    assert_int_equal(s.rflags, 0x202);
    assert_int_equal(s.cr0, 0x80000031);
    assert_int_equal(s.cr2, top | 0x202);
    assert_int_equal(s.cr3, 0x5000);
    assert_int_equal(s.cr4, 0x20);
    assert_int_equal(s.cr8, 9);
    assert_int_equal(s.xcr0, 7);
    assert_int_equal(s.efer, 0xd01);
    for (unsigned int i = 0; i < 4; i++) {
        assert_int_equal(s.dr[i], top | (0x300 + i));
        assert_int_equal(s.pdpte[i], top | (0x400 + i));
    }
    assert_int_equal(s.dr6, 0xffff0ff1);
    assert_int_equal(s.dr7, 0x401);
    for (unsigned int i = 0; i < SEG_COUNT; i++) {
        assert_int_equal(s.seg[i].selector, 8 * i);
        assert_int_equal(s.seg[i].limit, 0xfffff000 + i);
        assert_int_equal(s.seg[i].base, top | (0x500 + i));
        assert_int_equal(s.seg[i].access, 0xc093 + i);
    }
    assert_int_equal(s.gdtr.base, top | 0x600);
    assert_int_equal(s.gdtr.limit, 0x7f);
    assert_int_equal(s.idtr.base, top | 0x601);
    assert_int_equal(s.idtr.limit, 0xfff);
    assert_int_equal(s.interruptibility, INTR_BLOCK_NMI);
    assert_int_equal(s.event, EVENT_VALID | EVENT_ERROR_CODE | EVENT_TYPE_HW_EXCEPTION << 8 | 14);
    assert_int_equal(s.event_error, 0x1234);
    assert_int_equal(s.event_length, 0);
    assert_int_equal(s.pending_debug, 0x4000);
    assert_int_equal(s.tsc_offset, top | 0x700);
    for (unsigned int i = 0; i < GUEST_MSR_COUNT; i++) {
        assert_int_equal(s.msr[i], seed << 24 | i);
    }
    assert_int_equal(s.sysenter_cs, seed << 24 | 6);
    assert_int_equal(s.sysenter_esp, seed << 24 | 7);
    assert_int_equal(s.sysenter_eip, seed << 24 | 8);
    assert_int_equal(s.pat, UINT64_C(0x0007040600070406));
}

static void assert_xsave(const struct vcpu *v, uint8_t seed)
{
    const uint8_t *x = v->ctx.xsave;

    for (unsigned int i = 0; i < 832; i++) {
        if ((i >= 24 && i < 32) || (i >= 512 && i < 576)) {
            continue;
        }
        assert_int_equal(x[i], (uint8_t)(seed + i));
    }
    assert_memory_equal(x + 24, "\x80\x1f\0\0\xff\xff\0\0", 8);
    assert_int_equal(x[512], 7);
}

static void test_golden__vcpus__registers_msrs_xsave(void **state)
{
    struct vcpu *v = domain_find(1)->vcpus;

    (void)state;
    assert_int_equal(v->id, 0);
    assert_int_equal(v->run_state, VCPU_RUNNABLE);
    assert_int_equal(v->wake_tsc, 0);
    assert_non_null(v->run_next);
    assert_registers(v, 0x11);
    assert_xsave(v, 0x11);
    v = v->next_in_domain;
    assert_int_equal(v->id, 1);
    assert_int_equal(v->run_state, VCPU_SLEEPING);
    assert_int_equal(v->wake_tsc, 0x123456789);
    assert_non_null(v->run_next);
    assert_registers(v, 0x22);
    assert_xsave(v, 0x22);
    assert_null(v->next_in_domain);
    v = domain_find(7)->vcpus;
    assert_int_equal(v->run_state, VCPU_DOWN);
    assert_null(v->run_next);
    assert_registers(v, 0x33);
}

static void test_golden__console__pending_bytes_and_focus(void **state)
{
    struct console_piece pieces[2];

    (void)state;
    console_pending(pieces);
    assert_int_equal(pieces[0].len + pieces[1].len, 23);
    assert_memory_equal(pieces[0].bytes, "molt: not yet printed\r\n", pieces[0].len);
    assert_int_equal(console_focus(), 1);
}

static void assert_output(const struct domain *d, uint64_t total, const char *kept)
{
    struct output_piece pieces[2];
    uint64_t at = 0;
    char text[64];
    size_t n = output_get(&d->output, &at, sizeof(text), pieces);

    assert_int_equal(d->output.total, total);
    assert_int_equal(n, strlen(kept));
    assert_int_equal(at, total - n);
    memcpy(text, pieces[0].bytes != NULL ? (const char *)pieces[0].bytes : "", pieces[0].len);
    memcpy(text + pieces[0].len, pieces[1].bytes != NULL ? (const char *)pieces[1].bytes : "",
           pieces[1].len);
    assert_memory_equal(text, kept, n);
}

static void test_golden_domains__states_and_vcpus__as_they_were(void **state)
{
    static const struct {
        uint16_t id;
        const char *name;
        enum domain_state state;
        enum vcpu_run_state run;
        bool queued;
    } rows[] = {
        {1, "control", DOMAIN_RUNNING, VCPU_RUNNABLE, true},
        {2, "paused", DOMAIN_PAUSED, VCPU_HALTED, false},
        {3, "loaded", DOMAIN_NEW, VCPU_RUNNABLE, false},
        {4, "empty", DOMAIN_NEW, VCPU_DOWN, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct domain *d = domain_find(rows[i].id);

        assert_string_equal(d->name, rows[i].name);
        assert_int_equal(d->state, rows[i].state);
        assert_int_equal(d->vcpus->run_state, rows[i].run);
        assert_int_equal(d->vcpus->run_next != NULL, rows[i].queued);
    }
    /* They go on from there. */
    assert_int_equal(domctl_resume(domain_find(2)), 0);
    assert_int_equal(domctl_start(domain_find(3)), 0);
    assert_int_equal(domctl_start(domain_find(4)), -ENOEXEC);
}

static void test_golden_domains__output_and_console__kept(void **state)
{
    const char *typed;
    bool escape;

    (void)state;
    assert_output(domain_find(1), 1000000000000, "\r\nunfinished");
    assert_int_equal(domain_find(1)->uart.line_shown, 4);
    assert_output(domain_find(2), 3, "abc");
    assert_output(domain_find(3), 0, "");
    assert_output(domain_find(4), 7, "");
    assert_int_equal(console_edit(&typed, &escape), 8);
    assert_memory_equal(typed, "stat pau", 8);
    assert_true(escape);
    console_restore_edit("", 0, false);
}

static void test_golden_v2__memory__recorder_and_all_else_claimed(void **state)
{
    static const struct {
        uint64_t mfn;
        enum frame_state state;
        uint16_t owner;
        unsigned int order;
    } rows[] = {
        {0x400, FRAME_GUEST, 1, 9}, {0x705, FRAME_GUEST, 1, 0},
        {0x603, FRAME_GUEST, 1, 0}, {0x808, FRAME_GUEST, 7, 3},
        {0x900, FRAME_GUEST, 8, 1}, {0xa00, FRAME_RECORDER, OWNER_NONE, 4},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct frame_info f = frametable_get(mfn_from(rows[i].mfn));

        assert_int_equal(f.state, rows[i].state);
        assert_int_equal(f.owner, rows[i].owner);
        assert_int_equal(f.order, rows[i].order);
    }
    assert_int_equal(frametable_count(FRAME_GUEST), 512 + 2 + 8 + 2);
    assert_int_equal(frametable_count(FRAME_MODULE), 3);
    assert_int_equal(frametable_count(FRAME_RECORDER), 16);
    assert_true(memory_account());
}

static void assert_lapic(const struct vlapic *a, uint32_t seed, uint64_t base)
{
    assert_int_equal(a->apic_base, base);
    assert_int_equal(a->tpr, 0x90);
    assert_int_equal(a->svr, 0x1ff);
    assert_int_equal(a->ldr, seed << 24);
    assert_int_equal(a->dfr, UINT32_MAX);
    assert_int_equal(a->esr, 0x40);
    assert_int_equal(a->esr_pending, 0x80);
    assert_int_equal(a->icr, (uint64_t)seed << 56 | 0x4500);
    for (unsigned int i = 0; i < VLAPIC_LVTS; i++) {
        assert_int_equal(a->lvt[i], 0x10000 | (seed + i));
    }
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(a->irr[i], seed << 24 | 0x100 | i);
        assert_int_equal(a->isr[i], seed << 24 | 0x200 | i);
        assert_int_equal(a->tmr[i], seed << 24 | 0x300 | i);
    }
    assert_int_equal(a->timer_initial, 1000 + seed);
    assert_int_equal(a->timer_divide, 0xb);
    assert_int_equal(a->timer_start, (uint64_t)seed << 40);
    assert_int_equal(a->tsc_deadline, (uint64_t)seed << 32);
    assert_int_equal(a->tsc_per_tick, 100 + seed);
}

static void assert_devices(const struct domain *d, uint32_t seed, uint64_t wall_msr)
{
    assert_int_equal(d->ioapic.select, 0x12);
    assert_int_equal(d->ioapic.id, seed << 24);
    for (unsigned int i = 0; i < 24; i++) {
        assert_int_equal(d->ioapic.redirection[i], (uint64_t)seed << 56 | 0x10000 | i);
    }
    assert_int_equal(d->ioapic.lines, 0x10);
    assert_int_equal(d->clock.wall_nsec, 999999000 + seed);
    assert_int_equal(d->clock.wall_sec, 1700000000 + seed);
    assert_int_equal(d->clock.base_tsc, (uint64_t)seed << 32);
    assert_int_equal(d->clock.wall_msr, wall_msr);
}

static void test_golden_v2__vcpus_and_devices__as_they_were(void **state)
{
    static const struct {
        uint16_t domain;
        unsigned int vcpu;
        uint8_t seed;
        uint64_t apic_base, clock_msr;
        enum vcpu_run_state run;
        unsigned int signals;
        bool queued;
    } rows[] = {
        {1, 0, 0x11, 0xfee00900, 0x4001, VCPU_RUNNABLE, 0, true},
        {1, 1, 0x22, 0xfee00c00, 0x5000, VCPU_RUNNABLE, VCPU_SIGNAL_NMI, true},
        {7, 0, 0x33, 0xfee00900, 0, VCPU_DOWN, 0, false},
        {8, 0, 0x44, 0xfee00900, 0, VCPU_HALTED, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct vcpu *v = domain_find(rows[i].domain)->vcpus;

        v = rows[i].vcpu == 1 ? v->next_in_domain : v;
        assert_registers(v, rows[i].seed);
        assert_xsave(v, rows[i].seed);
        assert_lapic(&v->apic, rows[i].seed, rows[i].apic_base);
        assert_int_equal(v->clock.system_time_msr, rows[i].clock_msr);
        assert_int_equal(v->run_state, rows[i].run);
        assert_int_equal(v->signals, rows[i].signals);
        assert_int_equal(v->run_next != NULL, rows[i].queued);
    }
    assert_devices(domain_find(1), 0x11, 0x1230);
    assert_devices(domain_find(8), 0x44, 0);
    assert_int_equal(domain_find(7)->exit_code, 42);
    assert_int_equal(domain_find(8)->state, DOMAIN_PAUSED);
    assert_output(domain_find(1), 1000000000000, "\r\nnot yet complete");
}

static void test_golden_v2_stops__cpu_and_vcpus__when_they_stopped(void **state)
{
    const struct domain *d = domain_find(1);
    struct stream_reader reader;
    const char *why = "";

    (void)state;
    assert_int_equal(stream_open(&reader, golden_v2_stops_start,
                                 (size_t)(golden_v2_stops_end - golden_v2_stops_start), &why),
                     0);
    lu.boot.cmdline = "timeline";
    d->vcpus->next_in_domain->stopped_on = cpu_list;
    timeline_adopt(&reader);
    assert_int_equal(cpu_list->stop_tsc, 0x1000000);
    assert_ptr_equal(d->vcpus->stopped_on, cpu_list);
    assert_int_equal(d->vcpus->stopped_tsc, 0xffffff);
    assert_null(d->vcpus->next_in_domain->stopped_on);
    assert_int_equal(d->vcpus->next_in_domain->stopped_tsc, 0);
    assert_int_equal(domain_find(7)->vcpus->stopped_tsc, 0);
    assert_int_equal(domain_find(8)->vcpus->stopped_tsc, 0x800000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_golden__host__counters_and_writer, setup),
        cmocka_unit_test_setup(test_golden__memory__owners_and_extents, setup),
        cmocka_unit_test_setup(test_golden__domains__names_states_uarts, setup),
        cmocka_unit_test_setup(test_golden__vcpus__registers_msrs_xsave, setup),
        cmocka_unit_test_setup(test_golden__console__pending_bytes_and_focus, setup),
        cmocka_unit_test_setup(test_golden_domains__states_and_vcpus__as_they_were, setup_domains),
        cmocka_unit_test_setup(test_golden_domains__output_and_console__kept, setup_domains),
        /* What version 1 says as well. */
        cmocka_unit_test_setup(test_golden__host__counters_and_writer, setup_v2),
        cmocka_unit_test_setup(test_golden__console__pending_bytes_and_focus, setup_v2),
        cmocka_unit_test_setup(test_golden_v2__memory__recorder_and_all_else_claimed, setup_v2),
        cmocka_unit_test_setup(test_golden_v2__vcpus_and_devices__as_they_were, setup_v2),
        cmocka_unit_test_setup(test_golden_v2__vcpus_and_devices__as_they_were, setup_v2_stops),
        cmocka_unit_test_setup(test_golden_v2_stops__cpu_and_vcpus__when_they_stopped,
                               setup_v2_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
