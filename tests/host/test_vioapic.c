/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APIC: registers, edges and levels, Remote IRR, end of interrupt, with local APICs behind it.
 */
#include "hv/vioapic.h"

#include <string.h>

#include "fakes/apic_domain.h"
#include "fakes/cmocka_inc.h"

#define MASKED 0x10000U
#define LEVEL 0x8000U
#define REMOTE_IRR 0x4000U
#define ACTIVE_LOW 0x2000U
#define LOGICAL 0x800U
#define MODE(n) ((uint32_t)(n) << 8)
#define VECTOR 0x51U

static struct apic_domain dom;

static void complete(struct apic_domain *d, uint8_t vector)
{
    vioapic_eoi(&d->ioapic, &apic_domain_bus, d, vector);
}

static int setup(void **state)
{
    (void)state;
    apic_domain_init(&dom, 4, 1);
    dom.eoi = complete;
    vioapic_reset(&dom.ioapic);
    for (unsigned int i = 0; i < dom.nr; i++) {
        apic_set(&dom, i, 0xf0, 0x1ff);
        apic_set(&dom, i, 0xd0, 1U << (24 + i));
    }
    return 0;
}

static void put(uint32_t offset, uint32_t value)
{
    vioapic_write(&dom.ioapic, &apic_domain_bus, &dom, offset, value);
}

static uint32_t get_register(uint32_t index)
{
    put(0, index);
    assert_int_equal(vioapic_read(&dom.ioapic, 0), index & 0xff);
    return vioapic_read(&dom.ioapic, 0x10);
}

static void set_register(uint32_t index, uint32_t value)
{
    put(0, index);
    put(0x10, value);
}

static void set_entry(unsigned int pin, uint32_t low, uint8_t destination)
{
    set_register(0x10 + pin * 2, MASKED);
    set_register(0x11 + pin * 2, (uint32_t)destination << 24);
    set_register(0x10 + pin * 2, low);
}

static uint32_t low_half(unsigned int pin)
{
    return get_register(0x10 + pin * 2);
}

static void line(unsigned int pin, bool up)
{
    vioapic_set_line(&dom.ioapic, &apic_domain_bus, &dom, pin, up);
}

/* What the guest does with an interrupt; false when there is none. */
static bool take(unsigned int cpu, uint8_t vector)
{
    int pending = vlapic_pending(&dom.apic[cpu]);

    if (pending < 0) {
        return false;
    }
    assert_int_equal(pending, vector);
    vlapic_take(&dom.apic[cpu], vector);
    return true;
}

static void eoi(unsigned int cpu)
{
    apic_set(&dom, cpu, 0xb0, 0);
}

static bool serve(unsigned int cpu, uint8_t vector)
{
    bool there = take(cpu, vector);

    if (there) {
        eoi(cpu);
    }
    return there;
}

/* ---- Registers ------------------------------------------------------------------------------- */

static const struct {
    uint32_t first, last;
    uint32_t reset;
    uint32_t sticks;
} regs[] = {
    {0x00, 0x00, 0, 0x0f000000},
    {0x01, 0x01, 0x00170020, 0},
    {0x02, 0x02, 0, 0},
    {0x03, 0x0f, 0, 0},
    {0x10, 0x3f, 0, 0}, /* by halves, below */
    {0x40, 0xff, 0, 0},
};

static void test_vioapic_registers__reset_and_masks__as_in_the_data_sheet(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
        for (uint32_t index = regs[i].first; index <= regs[i].last; index++) {
            bool entry = regs[i].first == 0x10;
            uint32_t reset = entry && index % 2 == 0 ? MASKED : regs[i].reset;
            uint32_t sticks = entry ? (index % 2 ? 0xff000000 : 0x1afff) : regs[i].sticks;

            for (unsigned int bit = 0; bit < 32; bit++) {
                uint32_t want;

                setup(state);
                assert_int_equal(get_register(index), reset);
                set_register(index, 1U << bit);
                want = (reset & ~sticks) | (1U << bit & sticks);
                assert_int_equal(get_register(index), want);
                set_register(index, 0xffffffff);
                assert_int_equal(get_register(index), (reset & ~sticks) | sticks);
                set_register(index, 0);
                assert_int_equal(get_register(index), reset & ~sticks);
            }
        }
    }
    set_register(0, 0xffffffff);
    assert_int_equal(get_register(2), 0x0f000000); /* arbitration ID follows */
    put(0, 0xffffff01);
    assert_int_equal(vioapic_read(&dom.ioapic, 0), 1);
}

static void test_vioapic_window__other_offsets__nothing(void **state)
{
    struct vioapic before = dom.ioapic;

    (void)state;
    for (uint32_t offset = 0; offset < 0x1000; offset++) {
        if (offset != 0 && offset != 0x10) {
            assert_int_equal(vioapic_read(&dom.ioapic, offset), 0);
            if (offset != 0x40) {
                put(offset, 0xffffffff);
            }
        }
    }
    assert_memory_equal(&before, &dom.ioapic, sizeof(before));
}

static void test_vioapic_entry__halves__are_apart(void **state)
{
    (void)state;
    set_entry(7, MASKED | LEVEL | 0x33, 0xab);
    assert_int_equal(dom.ioapic.redirection[7], UINT64_C(0xab00000000018033));
    set_register(0x10 + 15, 0x12345678);
    assert_int_equal(dom.ioapic.redirection[7], UINT64_C(0x1200000000018033));
    assert_int_equal(low_half(6), MASKED);
    assert_int_equal(low_half(8), MASKED);
}

/* ---- Edges ----------------------------------------------------------------------------------- */

static void test_vioapic_edge__each_rise__one_interrupt(void **state)
{
    (void)state;
    for (unsigned int pin = 0; pin < VIOAPIC_PINS; pin++) {
        setup(state);
        set_entry(pin, VECTOR, 2);
        line(pin, true);
        line(pin, true);
        assert_int_equal(low_half(pin), VECTOR);
        assert_true(serve(2, VECTOR));
        assert_false(serve(2, VECTOR)); /* still up */
        line(pin, false);
        assert_false(serve(2, VECTOR));
        line(pin, true);
        assert_true(serve(2, VECTOR));
        assert_int_equal(dom.eois[VECTOR], 0);
        assert_int_equal(dom.kicks[2], 2);
        assert_int_equal(dom.kicks[0] + dom.kicks[1] + dom.kicks[3], 0);
    }
}

static void test_vioapic_edge__masked__is_lost(void **state)
{
    (void)state;
    set_entry(4, VECTOR | MASKED, 0);
    line(4, true);
    set_register(0x18, VECTOR); /* unmasked with the line up: no edge */
    assert_false(serve(0, VECTOR));
    line(4, false);
    line(4, true);
    assert_true(serve(0, VECTOR));
    line(4, false);
}

static void test_vioapic_set_line__pins_that_are_not_there__ignored(void **state)
{
    struct vioapic before = dom.ioapic;

    (void)state;
    for (unsigned int pin = VIOAPIC_PINS; pin < 70; pin++) {
        line(pin, true);
    }
    line(UINT32_MAX, true);
    assert_memory_equal(&before, &dom.ioapic, sizeof(before));
}

/* ---- Levels ---------------------------------------------------------------------------------- */

static void test_vioapic_level__up_until_served__fires_again_after_eoi(void **state)
{
    (void)state;
    set_entry(4, VECTOR | LEVEL | ACTIVE_LOW, 1);
    line(4, true);
    assert_int_equal(low_half(4), VECTOR | LEVEL | ACTIVE_LOW | REMOTE_IRR);
    assert_true(take(1, VECTOR));
    assert_false(take(1, VECTOR));
    line(4, false);
    line(4, true); /* in service: not twice */
    assert_int_equal(vlapic_pending(&dom.apic[1]), -1);
    eoi(1);
    assert_true(take(1, VECTOR));
    line(4, false);
    assert_true(low_half(4) & REMOTE_IRR);
    eoi(1);
    assert_false(low_half(4) & REMOTE_IRR);
    assert_false(take(1, VECTOR));
    assert_int_equal(dom.eois[VECTOR], 2);
}

static void test_vioapic_level__unmasked_with_line_up__fires(void **state)
{
    (void)state;
    set_entry(4, VECTOR | LEVEL | MASKED, 1);
    line(4, true);
    assert_int_equal(vlapic_pending(&dom.apic[1]), -1);
    set_register(0x18, VECTOR | LEVEL);
    assert_true(take(1, VECTOR));
    set_register(0x18, VECTOR | LEVEL | MASKED);
    assert_int_equal(low_half(4), VECTOR | LEVEL | MASKED | REMOTE_IRR);
    set_register(0x18, VECTOR | LEVEL); /* still in service */
    assert_int_equal(vlapic_pending(&dom.apic[1]), -1);
    set_register(0x18, VECTOR | LEVEL | MASKED);
    eoi(1); /* masked: completes, does not fire */
    assert_int_equal(low_half(4), VECTOR | LEVEL | MASKED);
    assert_int_equal(vlapic_pending(&dom.apic[1]), -1);
    set_register(0x18, VECTOR | LEVEL);
    assert_true(serve(1, VECTOR));
    line(4, false);
    assert_true(serve(1, VECTOR)); /* came with the EOI, before the line fell */
    set_register(0x18, VECTOR | LEVEL | MASKED);
    line(4, true);
    line(4, false);
    set_register(0x18, VECTOR | LEVEL);
    assert_false(serve(1, VECTOR)); /* gone before anybody looked */
}

static void test_vioapic_eoi_register__as_the_message(void **state)
{
    (void)state;
    set_entry(4, VECTOR | LEVEL, 0);
    line(4, true);
    assert_true(take(0, VECTOR));
    put(0x40, VECTOR + 1);
    assert_true(low_half(4) & REMOTE_IRR);
    line(4, false);
    put(0x40, 0xffffff00 | VECTOR);
    assert_false(low_half(4) & REMOTE_IRR);
    line(4, true);
    assert_true(low_half(4) & REMOTE_IRR);
    put(0x40, VECTOR);
    assert_true(low_half(4) & REMOTE_IRR); /* the line is up: fired again */
}

static void test_vioapic_eoi__shared_vector__all_its_pins(void **state)
{
    (void)state;
    set_entry(4, VECTOR | LEVEL, 0);
    set_entry(20, VECTOR | LEVEL, 1);
    set_entry(9, (VECTOR + 1) | LEVEL, 2);
    set_entry(3, VECTOR, 3); /* edge */
    line(4, true);
    line(20, true);
    line(9, true);
    line(3, true);
    line(4, false);
    assert_true(serve(3, VECTOR));
    assert_true(low_half(4) & low_half(20) & REMOTE_IRR);
    assert_true(serve(0, VECTOR));
    assert_false(low_half(4) & REMOTE_IRR);
    assert_true(low_half(9) & REMOTE_IRR);
    assert_true(low_half(20) & REMOTE_IRR); /* up: fired again */
    assert_int_equal(vlapic_pending(&dom.apic[1]), VECTOR);
    assert_false(serve(0, VECTOR));
}

static void test_vioapic_entry__changed_to_edge__clears_remote_irr(void **state)
{
    (void)state;
    set_entry(4, VECTOR | LEVEL, 0);
    line(4, true);
    assert_true(take(0, VECTOR));
    line(4, false);
    set_register(0x18, VECTOR | MASKED);
    assert_int_equal(low_half(4), VECTOR | MASKED);
    set_register(0x18, VECTOR | LEVEL);
    line(4, true);
    assert_true(low_half(4) & REMOTE_IRR);
    set_register(0x18, VECTOR | LEVEL | MODE(4)); /* NMI: an edge whatever is written */
    assert_false(low_half(4) & REMOTE_IRR);
    /* Edge to level with the line up fires. */
    setup(state);
    set_entry(4, VECTOR, 0);
    line(4, true);
    assert_true(serve(0, VECTOR));
    set_register(0x18, VECTOR | LEVEL);
    assert_true(take(0, VECTOR));
}

static void test_vioapic_level__nobody_accepts__tries_again_when_somebody_can(void **state)
{
    (void)state;
    set_entry(4, VECTOR | LEVEL, 9); /* no such APIC */
    line(4, true);
    assert_int_equal(low_half(4), VECTOR | LEVEL);
    set_register(0x19, 1 << 24);
    assert_true(low_half(4) & REMOTE_IRR);
    assert_true(take(1, VECTOR));
    /* Disabled by software; an illegal vector. */
    apic_set(&dom, 2, 0xf0, 0xff);
    set_entry(5, VECTOR | LEVEL, 2);
    line(5, true);
    assert_int_equal(low_half(5), VECTOR | LEVEL);
    set_entry(6, 5 | LEVEL, 3);
    line(6, true);
    assert_int_equal(low_half(6), 5 | LEVEL);
    assert_int_equal(dom.apic[3].esr_pending, 0x40);
}

/* ---- Delivery modes and destinations --------------------------------------------------------- */

static const struct {
    uint32_t mode;
    bool irq, nmi, init, remote_irr;
} modes[] = {
    {0, true, false, false, true},   {1, true, false, false, true},
    {2, false, false, false, false}, {3, false, false, false, false},
    {4, false, true, false, false},  {5, false, false, true, false},
    {6, false, false, false, false}, {7, false, false, false, false},
};

static void test_vioapic_modes__both_triggers__sensible(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        for (unsigned int level = 0; level < 2; level++) {
            setup(state);
            set_entry(11, VECTOR | MODE(modes[i].mode) | (level ? LEVEL : 0), 3);
            line(11, true);
            line(11, true);
            assert_int_equal(dom.nmis[3], modes[i].nmi);
            assert_int_equal(dom.inits[3], modes[i].init);
            assert_int_equal(low_half(11) & REMOTE_IRR,
                             level && modes[i].remote_irr ? REMOTE_IRR : 0);
            assert_int_equal(serve(3, VECTOR), modes[i].irq);
            line(11, false);
            if (level && modes[i].irq) {
                assert_true(serve(3, VECTOR)); /* was still up at the first EOI */
            }
            line(11, true);
            assert_int_equal(dom.nmis[3], 2 * modes[i].nmi);
            assert_int_equal(serve(3, VECTOR), modes[i].irq);
        }
    }
}

static void test_vioapic_destinations__reach_their_apics(void **state)
{
    static const struct {
        uint32_t low;
        uint8_t destination;
        uint8_t cpus; /* bit map */
    } cases[] = {
        {0, 0, 1},          {0, 3, 8},          {0, 4, 0},
        {0, 0xff, 0xf},     {LOGICAL, 0x5, 5},  {LOGICAL, 0xf0, 0},
        {LOGICAL, 0xff, 15}, {MODE(1), 2, 4},   {LOGICAL | MODE(1), 0xc, 4},
        {LOGICAL | MODE(1), 0xff, 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        setup(state);
        set_entry(0, VECTOR | cases[i].low, cases[i].destination);
        line(0, true);
        for (unsigned int cpu = 0; cpu < dom.nr; cpu++) {
            assert_int_equal(serve(cpu, VECTOR), cases[i].cpus >> cpu & 1);
        }
    }
}

static void test_vioapic_destinations__x2apic_mode__physical_ids_and_first_cluster(void **state)
{
    setup(state);
    for (unsigned int cpu = 0; cpu < dom.nr; cpu++) {
        assert_int_equal(apic_wrmsr(&dom, cpu, 0x1b, dom.apic[cpu].apic_base | 0x400), 0);
    }
    set_entry(0, VECTOR | LEVEL, 2);
    line(0, true);
    assert_true(take(2, VECTOR));
    line(0, false);
    assert_int_equal(apic_wrmsr(&dom, 2, 0x80b, 0), 0);
    assert_false(low_half(0) & REMOTE_IRR);
    set_entry(0, VECTOR | LOGICAL, 0x0a);
    line(0, true);
    assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
    assert_int_equal(vlapic_pending(&dom.apic[1]), VECTOR);
    assert_int_equal(vlapic_pending(&dom.apic[3]), VECTOR);
}

/* ---- Random traces against a model of one pin ------------------------------------------------ */

struct model {
    bool up, masked, level, remote_irr;
    bool irr, isr; /* of the CPU */
    bool tmr;
};

static void model_service(struct model *m)
{
    if (m->level && m->up && !m->masked && !m->remote_irr) {
        m->irr = true;
        m->remote_irr = true;
        m->tmr = true;
    }
}

static void model_eoi(struct model *m)
{
    if (m->remote_irr) {
        m->remote_irr = false;
        model_service(m);
    }
}

static void random_step(struct model *m, unsigned int pin, uint8_t vector)
{
    uint64_t random = apic_domain_random(&dom);
    bool on = random >> 8 & 1;

    switch (random % 6) {
    case 0:
    case 1:
        if (!m->level && on && !m->up && !m->masked) {
            m->irr = true;
            m->tmr = false;
        }
        m->up = on;
        model_service(m);
        line(pin, on);
        break;
    case 2:
        m->masked = on;
        m->level = random >> 9 & 3 ? m->level : !m->level;
        m->remote_irr &= m->level;
        model_service(m);
        set_register(0x10 + pin * 2, vector | (on ? MASKED : 0) | (m->level ? LEVEL : 0));
        break;
    case 3:
        if (m->irr && !m->isr) {
            vlapic_take(&dom.apic[1], vector);
            m->irr = false;
            m->isr = true;
        }
        break;
    case 4:
        if (m->isr) {
            m->isr = false;
            if (m->tmr) {
                model_eoi(m);
            }
        }
        eoi(1);
        break;
    default:
        if (random % 7 == 0) {
            model_eoi(m);
            put(0x40, vector);
        }
        break;
    }
}

static void test_vioapic_pin__random_traces__as_the_model(void **state)
{
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct model m = {.masked = true};
        unsigned int pin = (unsigned int)seed % VIOAPIC_PINS;
        uint8_t vector = (uint8_t)(0x20 + seed);

        setup(state);
        dom.random = seed;
        set_entry(pin, vector | MASKED, 1);
        for (unsigned int step = 0; step < 1000; step++) {
            random_step(&m, pin, vector);
            assert_int_equal(low_half(pin), vector | (m.masked ? MASKED : 0) |
                                                (m.level ? LEVEL : 0) |
                                                (m.remote_irr ? REMOTE_IRR : 0));
            assert_int_equal(apic_get(&dom, 1, 0x200 + vector / 32 * 16U) >> vector % 32 & 1,
                             m.irr);
            assert_int_equal(apic_get(&dom, 1, 0x100 + vector / 32 * 16U) >> vector % 32 & 1,
                             m.isr);
            assert_int_equal(dom.ioapic.lines, (uint32_t)m.up << pin);
        }
    }
}

/* ---- Any state ------------------------------------------------------------------------------- */

static void any_step(struct apic_domain *d)
{
    uint64_t random = apic_domain_random(d);
    uint32_t value = (uint32_t)apic_domain_random(d);
    unsigned int cpu = (unsigned int)(random >> 8) % d->nr;
    int pending = vlapic_pending(&d->apic[cpu]);

    switch (random % 8) {
    case 0:
    case 1:
        vioapic_set_line(&d->ioapic, &apic_domain_bus, d, value % 26, value >> 8 & 1);
        break;
    case 2:
        vioapic_write(&d->ioapic, &apic_domain_bus, d, 0, 0x10 + value % 50);
        break;
    case 3:
    case 4:
        vioapic_write(&d->ioapic, &apic_domain_bus, d, 0x10, value & ~(value >> 7 & MASKED));
        break;
    case 5:
        vioapic_write(&d->ioapic, &apic_domain_bus, d, 0x40, value);
        break;
    case 6:
        if (pending >= 0) {
            vlapic_take(&d->apic[cpu], (uint8_t)pending);
        }
        break;
    default:
        apic_set(d, cpu, 0xb0, 0);
        break;
    }
}

static void test_vioapic_state__copied_at_every_step__goes_on_identically(void **state)
{
    static struct apic_domain other;

    for (uint64_t seed = 0; seed < 10; seed++) {
        setup(state);
        dom.random = seed;
        for (unsigned int step = 0; step < 4000; step++) {
            memcpy(&other, &dom, sizeof(other));
            memset(&other.ioapic, 0, sizeof(other.ioapic));
            other.ioapic.select = dom.ioapic.select;
            other.ioapic.id = dom.ioapic.id;
            other.ioapic.lines = dom.ioapic.lines;
            memcpy(other.ioapic.redirection, dom.ioapic.redirection,
                   sizeof(dom.ioapic.redirection));
            for (unsigned int more = 0; more < 1 + step % 5; more++) {
                any_step(&dom);
                any_step(&other);
            }
            assert_memory_equal(&dom, &other, sizeof(dom));
        }
    }
}

static void test_vioapic_state__garbage__is_survived(void **state)
{
    for (uint64_t seed = 0; seed < 3000; seed++) {
        uint8_t *bytes = (uint8_t *)&dom.ioapic;

        setup(state);
        dom.random = seed;
        for (size_t b = 0; b < sizeof(dom.ioapic); b++) {
            bytes[b] = (uint8_t)apic_domain_random(&dom);
        }
        for (unsigned int step = 0; step < 60; step++) {
            any_step(&dom);
            (void)vioapic_read(&dom.ioapic, 0x10);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_vioapic_registers__reset_and_masks__as_in_the_data_sheet,
                               setup),
        cmocka_unit_test_setup(test_vioapic_window__other_offsets__nothing, setup),
        cmocka_unit_test_setup(test_vioapic_entry__halves__are_apart, setup),
        cmocka_unit_test_setup(test_vioapic_edge__each_rise__one_interrupt, setup),
        cmocka_unit_test_setup(test_vioapic_edge__masked__is_lost, setup),
        cmocka_unit_test_setup(test_vioapic_set_line__pins_that_are_not_there__ignored, setup),
        cmocka_unit_test_setup(test_vioapic_level__up_until_served__fires_again_after_eoi, setup),
        cmocka_unit_test_setup(test_vioapic_level__unmasked_with_line_up__fires, setup),
        cmocka_unit_test_setup(test_vioapic_eoi_register__as_the_message, setup),
        cmocka_unit_test_setup(test_vioapic_eoi__shared_vector__all_its_pins, setup),
        cmocka_unit_test_setup(test_vioapic_entry__changed_to_edge__clears_remote_irr, setup),
        cmocka_unit_test_setup(test_vioapic_level__nobody_accepts__tries_again_when_somebody_can,
                               setup),
        cmocka_unit_test_setup(test_vioapic_modes__both_triggers__sensible, setup),
        cmocka_unit_test_setup(test_vioapic_destinations__reach_their_apics, setup),
        cmocka_unit_test_setup(
            test_vioapic_destinations__x2apic_mode__physical_ids_and_first_cluster, setup),
        cmocka_unit_test_setup(test_vioapic_pin__random_traces__as_the_model, setup),
        cmocka_unit_test_setup(test_vioapic_state__copied_at_every_step__goes_on_identically,
                               setup),
        cmocka_unit_test_setup(test_vioapic_state__garbage__is_survived, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
