/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC: timer.
 */
#include <string.h>

#include "fakes/apic_domain.h"
#include "fakes/cmocka_inc.h"
#include "hv/errno.h"

#define VECTOR 0x70U
#define MASKED 0x10000U
#define ONE_SHOT 0x00000U
#define PERIODIC 0x20000U
#define DEADLINE 0x40000U
#define RESERVED_MODE 0x60000U

#define LVTT 0x320U
#define TMICT 0x380U
#define TMCCT 0x390U
#define TDCR 0x3e0U
#define MSR_DEADLINE 0x6e0U

static struct apic_domain dom;

static int setup(void **state)
{
    (void)state;
    apic_domain_init(&dom, 1, 1);
    apic_set(&dom, 0, 0xf0, 0x1ff);
    apic_set(&dom, 0, TDCR, 0xb); /* 1 */
    return 0;
}

static uint64_t deadline(void)
{
    uint64_t value = 1;

    assert_int_equal(apic_rdmsr(&dom, 0, MSR_DEADLINE, &value), 0);
    return value;
}

static void set_deadline(uint64_t value)
{
    assert_int_equal(apic_wrmsr(&dom, 0, MSR_DEADLINE, value), 0);
}

/* Lets time pass; true if the interrupt came, which is then served. */
static bool fired(uint64_t cycles)
{
    dom.now += cycles;
    vlapic_timer_tick(&dom.apic[0], dom.now);
    if (vlapic_pending(&dom.apic[0]) < 0) {
        return false;
    }
    assert_int_equal(vlapic_pending(&dom.apic[0]), VECTOR);
    vlapic_take(&dom.apic[0], VECTOR);
    apic_set(&dom, 0, 0xb0, 0);
    assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
    return true;
}

static uint64_t next(void)
{
    return vlapic_timer_next(&dom.apic[0]);
}

static void test_vlapic_timer__reset__is_off(void **state)
{
    (void)state;
    assert_true(next() == VLAPIC_NO_DEADLINE);
    assert_false(fired(UINT64_C(1) << 62));
    assert_int_equal(apic_get(&dom, 0, TMCCT), 0);
}

static void test_vlapic_timer__one_shot__fires_once_at_the_cycle(void **state)
{
    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR);
    apic_set(&dom, 0, TMICT, 1000);
    assert_int_equal(next(), dom.now + 1000);
    assert_int_equal(apic_get(&dom, 0, TMCCT), 1000);
    assert_false(fired(999));
    assert_int_equal(apic_get(&dom, 0, TMCCT), 1);
    assert_true(fired(1));
    assert_int_equal(apic_get(&dom, 0, TMCCT), 0);
    assert_int_equal(apic_get(&dom, 0, TMICT), 1000);
    assert_true(next() == VLAPIC_NO_DEADLINE);
    assert_false(fired(UINT64_C(1) << 40));
    apic_set(&dom, 0, TMICT, 5);
    assert_false(fired(3));
    apic_set(&dom, 0, TMICT, 5); /* starts anew */
    assert_false(fired(4));
    assert_true(fired(1));
    apic_set(&dom, 0, TMICT, 5);
    apic_set(&dom, 0, TMICT, 0); /* stops */
    assert_false(fired(100));
    assert_int_equal(apic_get(&dom, 0, TMCCT), 0);
}

static void test_vlapic_timer__divide_and_tick__set_the_speed(void **state)
{
    static const struct {
        uint32_t tdcr, divisor;
    } cases[] = {{0x0, 2},  {0x1, 4},  {0x2, 8},   {0x3, 16},
                 {0x8, 32}, {0x9, 64}, {0xa, 128}, {0xb, 1}};
    static const uint32_t ticks[] = {1, 3, 125, 100000};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (size_t t = 0; t < ARRAY_SIZE(ticks); t++) {
            uint64_t count = (uint64_t)cases[i].divisor * ticks[t];

            setup(state);
            dom.apic[0].tsc_per_tick = ticks[t];
            apic_set(&dom, 0, LVTT, VECTOR);
            apic_set(&dom, 0, TDCR, cases[i].tdcr | 0xfffffff4);
            assert_int_equal(apic_get(&dom, 0, TDCR), cases[i].tdcr);
            apic_set(&dom, 0, TMICT, 0xffffffff);
            assert_int_equal(next() - dom.now, count * 0xffffffff);
            assert_false(fired(count - 1));
            assert_int_equal(apic_get(&dom, 0, TMCCT), 0xffffffff);
            assert_false(fired(1));
            assert_int_equal(apic_get(&dom, 0, TMCCT), 0xfffffffe);
            assert_false(fired(count * 0xfffffffd));
            assert_int_equal(apic_get(&dom, 0, TMCCT), 1);
            assert_false(fired(count - 1));
            assert_true(fired(1));
        }
    }
}

static void test_vlapic_timer__periodic__keeps_phase_over_gaps_of_any_length(void **state)
{
    static const uint64_t gaps[] = {
        1, 99, 100, 101, 199, 200, 12345678, UINT64_C(1) << 40, 300, 7, UINT64_C(1) << 60};
    uint64_t start;

    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR | PERIODIC);
    apic_set(&dom, 0, TMICT, 100);
    start = dom.now;
    for (size_t i = 0; i < ARRAY_SIZE(gaps); i++) {
        uint64_t periods = (dom.now - start) / 100;
        bool once = fired(gaps[i]);

        assert_int_equal(once, (dom.now - start) / 100 != periods);
        assert_false(fired(0));
        assert_int_equal(next(), start + ((dom.now - start) / 100 + 1) * 100);
        assert_int_equal(apic_get(&dom, 0, TMCCT), 100 - (dom.now - start) % 100);
    }
}

static void test_vlapic_timer__masked__runs_silently(void **state)
{
    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR | PERIODIC | MASKED);
    apic_set(&dom, 0, TMICT, 100);
    assert_true(next() == VLAPIC_NO_DEADLINE);
    assert_false(fired(250));
    assert_int_equal(apic_get(&dom, 0, TMCCT), 50);
    dom.now += 60;
    apic_set(&dom, 0, LVTT, VECTOR | PERIODIC); /* what came before is lost */
    assert_false(fired(0));
    assert_int_equal(next(), dom.now + 90);
    assert_true(fired(90));
    apic_set(&dom, 0, LVTT, VECTOR | MASKED);
    assert_false(fired(100));
    apic_set(&dom, 0, LVTT, VECTOR);
    assert_false(fired(1000));
    /* Disabled by software: the same, for good. */
    apic_set(&dom, 0, TMICT, 100);
    apic_set(&dom, 0, 0xf0, 0xff);
    assert_false(fired(40));
    apic_set(&dom, 0, 0xf0, 0x1ff);
    assert_int_equal(apic_get(&dom, 0, TMCCT), 60);
    assert_false(fired(100));
}

static void test_vlapic_timer__due_before_a_write__fires_by_the_old_settings(void **state)
{
    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR);
    apic_set(&dom, 0, TMICT, 100);
    dom.now += 100;
    apic_set(&dom, 0, LVTT, VECTOR | MASKED);
    assert_true(fired(0));
    apic_set(&dom, 0, LVTT, VECTOR);
    apic_set(&dom, 0, TMICT, 100);
    dom.now += 100;
    apic_set(&dom, 0, TMICT, 0);
    assert_true(fired(0));
    apic_set(&dom, 0, TMICT, 100);
    dom.now += 100;
    assert_int_equal(apic_get(&dom, 0, 0x200 + VECTOR / 32 * 16), 1U << VECTOR % 32);
}

static void test_vlapic_timer__deadline__fires_once_and_clears_itself(void **state)
{
    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR | DEADLINE);
    assert_int_equal(deadline(), 0);
    assert_true(next() == VLAPIC_NO_DEADLINE);
    set_deadline(dom.now + 500);
    assert_int_equal(deadline(), dom.now + 500);
    assert_int_equal(next(), dom.now + 500);
    assert_false(fired(499));
    assert_true(fired(1));
    assert_int_equal(deadline(), 0);
    assert_false(fired(1000));
    set_deadline(dom.now - 1); /* past: at once */
    assert_int_equal(vlapic_pending(&dom.apic[0]), VECTOR);
    assert_int_equal(deadline(), 0);
    assert_true(fired(0));
    set_deadline(dom.now);
    assert_true(fired(0));
    set_deadline(dom.now + 10);
    set_deadline(dom.now + 20); /* postponed */
    assert_false(fired(19));
    set_deadline(0); /* disarmed */
    assert_false(fired(100));
    set_deadline(UINT64_MAX);
    assert_true(next() == VLAPIC_NO_DEADLINE);
    assert_false(fired(UINT64_C(1) << 62));
    assert_true(deadline() == UINT64_MAX);
    set_deadline(dom.now + 10);
    apic_set(&dom, 0, LVTT, VECTOR | DEADLINE | MASKED);
    assert_true(next() == VLAPIC_NO_DEADLINE);
    assert_false(fired(10)); /* masked: it passes */
    assert_int_equal(deadline(), 0);
    set_deadline(dom.now + 10);
    dom.now += 10;
    assert_int_equal(deadline(), 0); /* the read itself sees that it is over */
}

static void test_vlapic_timer__registers_of_the_other_modes__ignored(void **state)
{
    static const uint32_t modes[] = {ONE_SHOT, PERIODIC, RESERVED_MODE};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        setup(state);
        apic_set(&dom, 0, LVTT, VECTOR | modes[i]);
        set_deadline(dom.now - 1);
        assert_int_equal(deadline(), 0);
        set_deadline(dom.now + 1);
        assert_int_equal(deadline(), 0);
        assert_true(next() == VLAPIC_NO_DEADLINE);
        assert_false(fired(10));
        apic_set(&dom, 0, LVTT, VECTOR | DEADLINE);
        assert_int_equal(deadline(), 0);
    }
    apic_set(&dom, 0, TMICT, 100);
    assert_int_equal(apic_get(&dom, 0, TMICT), 0);
    assert_int_equal(apic_get(&dom, 0, TMCCT), 0);
    assert_false(fired(1000));
    apic_set(&dom, 0, LVTT, VECTOR | RESERVED_MODE);
    apic_set(&dom, 0, TMICT, 100);
    assert_false(fired(1000));
}

/* Armed in the old mode, with 60 cycles to go. */
static void test_vlapic_timer__mode_changes__go_on_or_disarm(void **state)
{
    static const uint32_t modes[] = {ONE_SHOT, PERIODIC, DEADLINE, RESERVED_MODE};

    for (size_t from = 0; from < ARRAY_SIZE(modes); from++) {
        for (size_t to = 0; to < ARRAY_SIZE(modes); to++) {
            bool armed = from != 3 && (from == to || (from < 2 && to < 2));

            setup(state);
            apic_set(&dom, 0, LVTT, VECTOR | modes[from]);
            apic_set(&dom, 0, TMICT, 100);
            set_deadline(dom.now + 100);
            assert_false(fired(40));
            apic_set(&dom, 0, LVTT, VECTOR | modes[to]);
            assert_true(next() == (armed ? dom.now + 60 : VLAPIC_NO_DEADLINE));
            assert_int_equal(apic_get(&dom, 0, TMCCT), armed && to < 2 ? 60 : 0);
            assert_false(fired(59));
            assert_int_equal(fired(1), armed);
            assert_int_equal(fired(100), armed && to == 1);
            /* And back: nothing comes alive. */
            apic_set(&dom, 0, LVTT, VECTOR | modes[from]);
            assert_int_equal(fired(1000), armed && to == 1 && from < 2);
        }
    }
}

static void test_vlapic_timer__expired_one_shot_made_periodic__stays_at_0(void **state)
{
    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR);
    apic_set(&dom, 0, TMICT, 100);
    assert_true(fired(100));
    apic_set(&dom, 0, LVTT, VECTOR | PERIODIC);
    assert_int_equal(apic_get(&dom, 0, TMCCT), 0);
    assert_int_equal(apic_get(&dom, 0, TMICT), 100);
    assert_false(fired(1000));
    apic_set(&dom, 0, TMICT, 100);
    assert_true(fired(100));
}

static void test_vlapic_timer__divide_changed_while_counting__count_goes_on(void **state)
{
    (void)state;
    apic_set(&dom, 0, LVTT, VECTOR | PERIODIC);
    apic_set(&dom, 0, TMICT, 100);
    assert_false(fired(30));
    apic_set(&dom, 0, TDCR, 0xa); /* 128 */
    assert_int_equal(apic_get(&dom, 0, TMCCT), 70);
    assert_int_equal(next(), dom.now + 70 * 128);
    assert_false(fired(70 * 128 - 1));
    assert_true(fired(1));
    assert_int_equal(next(), dom.now + 100 * 128);
    apic_set(&dom, 0, TMICT, 0);
    dom.now = 50; /* the count may have begun before TSC 0 */
    apic_set(&dom, 0, TMICT, 100);
    apic_set(&dom, 0, TDCR, 0xb);
    assert_false(fired(40));
    apic_set(&dom, 0, TDCR, 0xa);
    assert_int_equal(apic_get(&dom, 0, TMCCT), 60);
    assert_int_equal(next(), dom.now + 60 * 128);
    assert_false(fired(60 * 128 - 1));
    assert_true(fired(1));
}

static void test_vlapic_tsc_moved__count_goes_on_deadline_is_absolute(void **state)
{
    static const uint64_t deltas[] = {1000, (uint64_t)-900, UINT64_C(1) << 63, 0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(deltas); i++) {
        setup(state);
        apic_set(&dom, 0, LVTT, VECTOR);
        apic_set(&dom, 0, TMICT, 100);
        assert_false(fired(10));
        dom.now += deltas[i];
        vlapic_tsc_moved(&dom.apic[0], deltas[i]);
        assert_int_equal(apic_get(&dom, 0, TMCCT), 90);
        assert_int_equal(next(), dom.now + 90);
        assert_false(fired(89));
        assert_true(fired(1));
        vlapic_tsc_moved(&dom.apic[0], deltas[i]);
        assert_false(fired(1000));
    }
    apic_set(&dom, 0, LVTT, VECTOR | DEADLINE);
    set_deadline(dom.now + 100);
    vlapic_tsc_moved(&dom.apic[0], 60);
    dom.now += 60;
    assert_false(fired(39));
    assert_true(fired(1));
}

/* The clock was read before the exit in which the guest started the timer. */
static void test_vlapic_timer_tick__older_time_than_the_start__nothing(void **state)
{
    static const uint32_t modes[] = {ONE_SHOT, PERIODIC, DEADLINE};

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        setup(state);
        apic_set(&dom, 0, LVTT, VECTOR | modes[i]);
        apic_set(&dom, 0, TMICT, 100);
        set_deadline(dom.now + 100);
        dom.now -= 5000;
        assert_false(fired(0));
        assert_int_equal(apic_get(&dom, 0, TMCCT), modes[i] != DEADLINE ? 100 : 0);
        assert_int_equal(next(), dom.now + 5100);
        assert_false(fired(5099));
        assert_true(fired(1));
    }
}

static void test_vlapic_timer__absurd_tick__no_overflow(void **state)
{
    (void)state;
    dom.apic[0].tsc_per_tick = UINT32_MAX;
    apic_set(&dom, 0, LVTT, VECTOR | PERIODIC);
    apic_set(&dom, 0, TDCR, 0xa);
    apic_set(&dom, 0, TMICT, UINT32_MAX);
    assert_true(next() == VLAPIC_NO_DEADLINE);
    assert_false(fired(INT64_MAX));
    assert_true(apic_get(&dom, 0, TMCCT) > 0);
    assert_false(fired(INT64_MAX));
    assert_true(apic_get(&dom, 0, TMCCT) > 0);
    dom.apic[0].tsc_per_tick = 0; /* as 1 */
    apic_set(&dom, 0, TMICT, 10);
    assert_false(fired(10 * 128 - 1));
    assert_true(fired(1));
}

static void test_vlapic_timer__init_and_disable__stop_it(void **state)
{
    static const uint32_t modes[] = {ONE_SHOT, PERIODIC, DEADLINE};

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        for (unsigned int off = 0; off < 2; off++) {
            setup(state);
            apic_set(&dom, 0, LVTT, VECTOR | modes[i]);
            apic_set(&dom, 0, TMICT, 100);
            set_deadline(dom.now + 100);
            if (off) {
                assert_int_equal(apic_wrmsr(&dom, 0, 0x1b, 0xfee00000), 0);
                assert_int_equal(apic_wrmsr(&dom, 0, 0x1b, 0xfee00800), 0);
            } else {
                vlapic_init_signal(&dom.apic[0]);
            }
            assert_true(next() == VLAPIC_NO_DEADLINE);
            apic_set(&dom, 0, 0xf0, 0x1ff);
            apic_set(&dom, 0, LVTT, VECTOR | modes[i]);
            assert_int_equal(deadline(), 0);
            assert_false(fired(1000));
        }
    }
}

/* ---- Against a model that goes cycle by cycle ------------------------------------------------ */

struct model {
    uint32_t lvt;
    uint32_t initial, count, divide;
    uint64_t tick;  /* cycles of an undivided one */
    uint64_t phase; /* cycles until the count goes down */
    uint64_t deadline;
    bool irr;
};

static uint64_t model_cycles(const struct model *m)
{
    static const uint8_t divisors[] = {2, 4, 8, 16, 0, 0, 0, 0, 32, 64, 128, 1};

    return m->tick * divisors[m->divide];
}

static void model_fire(struct model *m)
{
    m->irr |= !(m->lvt & MASKED);
}

static void model_cycle(struct model *m)
{
    dom.now++;
    if (m->deadline != 0 && dom.now >= m->deadline) {
        m->deadline = 0;
        model_fire(m);
    }
    if (m->count != 0 && --m->phase == 0) {
        m->phase = model_cycles(m);
        if (--m->count == 0) {
            model_fire(m);
            m->count = (m->lvt & RESERVED_MODE) == PERIODIC ? m->initial : 0;
        }
    }
}

static void model_lvt(struct model *m, uint32_t lvt)
{
    uint32_t changed = (m->lvt ^ lvt) & RESERVED_MODE;

    if (changed != 0 && changed != PERIODIC) {
        m->count = m->initial = 0;
        m->deadline = 0;
    } else if (changed != 0 && (lvt & DEADLINE)) {
        m->deadline = 0;
    }
    m->lvt = lvt;
}

static void model_initial(struct model *m, uint32_t initial)
{
    if (!(m->lvt & DEADLINE)) {
        m->initial = m->count = initial;
        m->phase = model_cycles(m);
    }
}

static uint64_t model_next(const struct model *m)
{
    if (m->lvt & MASKED) {
        return VLAPIC_NO_DEADLINE;
    }
    if (m->deadline != 0) {
        return m->deadline;
    }
    return m->count != 0 ? dom.now + (m->count - 1) * model_cycles(m) + m->phase
                         : VLAPIC_NO_DEADLINE;
}

static void random_access(struct model *m)
{
    static const uint32_t lvts[] = {VECTOR,
                                    VECTOR | PERIODIC,
                                    VECTOR | DEADLINE,
                                    VECTOR | MASKED,
                                    VECTOR | PERIODIC | MASKED,
                                    VECTOR | DEADLINE | MASKED,
                                    VECTOR | RESERVED_MODE,
                                    VECTOR | PERIODIC};
    uint64_t random = apic_domain_random(&dom);
    uint32_t value = (uint32_t)(random >> 16) % 60;

    switch (random % 8) {
    case 0:
        model_lvt(m, lvts[value % 8]);
        apic_set(&dom, 0, LVTT, lvts[value % 8]);
        break;
    case 1:
    case 2:
        model_initial(m, value);
        apic_set(&dom, 0, TMICT, value);
        break;
    case 3:
        value = value % 4 | (value & 4) << 1;
        if (value != m->divide) {
            m->divide = value;
            m->phase = model_cycles(m);
        }
        apic_set(&dom, 0, TDCR, value);
        break;
    case 4:
    case 5:
        if ((m->lvt & RESERVED_MODE) == DEADLINE) {
            m->deadline = value == 0 ? 0 : dom.now + value * 10 - 50;
            if (m->deadline != 0 && dom.now >= m->deadline) {
                m->deadline = 0;
                model_fire(m);
            }
        }
        set_deadline(value == 0 ? 0 : dom.now + value * 10 - 50);
        break;
    case 6:
        assert_int_equal(apic_get(&dom, 0, TMCCT), m->count);
        assert_int_equal(apic_get(&dom, 0, TMICT), m->initial);
        assert_int_equal(deadline(), m->deadline);
        break;
    default:
        vlapic_timer_tick(&dom.apic[0], dom.now);
        assert_true(vlapic_timer_next(&dom.apic[0]) == model_next(m));
        assert_int_equal(vlapic_pending(&dom.apic[0]), m->irr ? (int)VECTOR : -1);
        if (m->irr) {
            vlapic_take(&dom.apic[0], VECTOR);
            apic_set(&dom, 0, 0xb0, 0);
            m->irr = false;
        }
        break;
    }
}

static void test_vlapic_timer__random_accesses__as_the_cycle_model(void **state)
{
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct model m = {.lvt = VECTOR | MASKED, .divide = 0xb, .tick = seed % 4 + 1};

        setup(state);
        dom.random = seed;
        dom.apic[0].tsc_per_tick = (uint32_t)m.tick;
        apic_set(&dom, 0, LVTT, VECTOR | MASKED);
        for (unsigned int step = 0; step < 1000; step++) {
            uint64_t random = apic_domain_random(&dom);
            uint64_t cycles = random % 4 == 0 ? random / 4 % 4000 : random / 4 % 50;

            while (cycles-- > 0) {
                model_cycle(&m);
            }
            random_access(&m);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_vlapic_timer__reset__is_off, setup),
        cmocka_unit_test_setup(test_vlapic_timer__one_shot__fires_once_at_the_cycle, setup),
        cmocka_unit_test_setup(test_vlapic_timer__divide_and_tick__set_the_speed, setup),
        cmocka_unit_test_setup(test_vlapic_timer__periodic__keeps_phase_over_gaps_of_any_length,
                               setup),
        cmocka_unit_test_setup(test_vlapic_timer__masked__runs_silently, setup),
        cmocka_unit_test_setup(test_vlapic_timer__due_before_a_write__fires_by_the_old_settings,
                               setup),
        cmocka_unit_test_setup(test_vlapic_timer__deadline__fires_once_and_clears_itself, setup),
        cmocka_unit_test_setup(test_vlapic_timer__registers_of_the_other_modes__ignored, setup),
        cmocka_unit_test_setup(test_vlapic_timer__mode_changes__go_on_or_disarm, setup),
        cmocka_unit_test_setup(test_vlapic_timer__expired_one_shot_made_periodic__stays_at_0,
                               setup),
        cmocka_unit_test_setup(test_vlapic_timer__divide_changed_while_counting__count_goes_on,
                               setup),
        cmocka_unit_test_setup(test_vlapic_tsc_moved__count_goes_on_deadline_is_absolute, setup),
        cmocka_unit_test_setup(test_vlapic_timer_tick__older_time_than_the_start__nothing, setup),
        cmocka_unit_test_setup(test_vlapic_timer__absurd_tick__no_overflow, setup),
        cmocka_unit_test_setup(test_vlapic_timer__init_and_disable__stop_it, setup),
        cmocka_unit_test_setup(test_vlapic_timer__random_accesses__as_the_cycle_model, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
