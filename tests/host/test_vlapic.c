/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC: registers in both modes, APIC_BASE, priorities, messages, errors, save and load.
 * The timer has test_vlapic_timer.c.
 */
#include "hv/vlapic.h"

#include <string.h>

#include "fakes/apic_domain.h"
#include "fakes/cmocka_inc.h"
#include "hv/errno.h"
#include "hw/apic.h"
#include "hw/x86.h"

#define MSR(offset) (0x800U + (offset) / 16)
#define BASE_DEFAULT 0xfee00000UL
#define DISABLED (BASE_DEFAULT)
#define XAPIC (BASE_DEFAULT | 0x800)
#define X2APIC (BASE_DEFAULT | 0xc00)
#define INVALID (BASE_DEFAULT | 0x400)

static struct apic_domain dom;

static int setup(void **state)
{
    (void)state;
    apic_domain_init(&dom, 1, 1);
    return 0;
}

static void must_wrmsr(unsigned int i, uint32_t index, uint64_t value)
{
    assert_int_equal(apic_wrmsr(&dom, i, index, value), 0);
}

static uint64_t must_rdmsr(unsigned int i, uint32_t index)
{
    uint64_t value = 0;

    assert_int_equal(apic_rdmsr(&dom, i, index, &value), 0);
    return value;
}

static void go_x2apic(unsigned int i)
{
    must_wrmsr(i, MSR_APIC_BASE, must_rdmsr(i, MSR_APIC_BASE) | 0xc00);
}

static void sw_enable(unsigned int i)
{
    dom.apic[i].svr |= 0x100;
}

/* ---- Registers ------------------------------------------------------------------------------- */

enum { NONE = 0, RO = 1, WO = 2, RW = 3 };

/* By the manual's table; numbers on purpose. "sticks": bits that read back as written. */
static const struct reg {
    uint32_t offset;
    uint8_t count; /* of equal registers, 16 bytes apart */
    uint8_t xapic;
    uint8_t x2apic;
    uint32_t reset;
    uint32_t x2reset; /* after reset and the change to x2APIC mode, id 0 */
    uint32_t sticks;
    uint32_t ones;   /* bits that read 1 whatever is written */
    uint32_t vain;   /* read-only flags: no #GP, no effect */
} regs[] = {
    {0x020, 1, RO, RO, 0, 0, 0, 0, 0},
    {0x030, 1, RO, RO, 0x00050014, 0x00050014, 0, 0, 0},
    {0x080, 1, RW, RW, 0, 0, 0xff, 0, 0},
    {0x090, 1, RO, NONE, 0, 0, 0, 0, 0},
    {0x0a0, 1, RO, RO, 0, 0, 0, 0, 0},
    {0x0b0, 1, WO, WO, 0, 0, 0, 0, 0},
    {0x0c0, 1, RO, NONE, 0, 0, 0, 0, 0},
    {0x0d0, 1, RW, RO, 0, 1, 0xff000000, 0, 0},
    {0x0e0, 1, RW, NONE, 0xffffffff, 0, 0xf0000000, 0x0fffffff, 0},
    {0x0f0, 1, RW, RW, 0xff, 0xff, 0x3ff, 0, 0},
    {0x100, 24, RO, RO, 0, 0, 0, 0, 0},
    {0x280, 1, RW, RW, 0, 0, 0, 0, 0},
    {0x300, 1, RW, RW, 0, 0, 0xccfff, 0, 0x1000},
    {0x310, 1, RW, NONE, 0, 0, 0xff000000, 0, 0},
    {0x320, 1, RW, RW, 0x10000, 0x10000, 0x700ff, 0, 0x1000},
    {0x330, 1, RW, RW, 0x10000, 0x10000, 0x107ff, 0, 0x1000},
    {0x340, 1, RW, RW, 0x10000, 0x10000, 0x107ff, 0, 0x1000},
    {0x350, 1, RW, RW, 0x10000, 0x10000, 0x1a7ff, 0, 0x5000},
    {0x360, 1, RW, RW, 0x10000, 0x10000, 0x1a7ff, 0, 0x5000},
    {0x370, 1, RW, RW, 0x10000, 0x10000, 0x100ff, 0, 0x1000},
    {0x380, 1, RW, RW, 0, 0, 0xffffffff, 0, 0},
    {0x390, 1, RO, RO, 0, 0, 0, 0, 0},
    {0x3e0, 1, RW, RW, 0, 0, 0xb, 0, 0},
    {0x3f0, 1, NONE, WO, 0, 0, 0, 0, 0},
};

static const struct reg *find_reg(uint32_t offset)
{
    for (size_t i = 0; i < ARRAY_SIZE(regs); i++) {
        if (offset >= regs[i].offset && offset < regs[i].offset + regs[i].count * 16U) {
            return &regs[i];
        }
    }
    return NULL;
}

static void test_vlapic_reset__every_register__has_its_value(void **state)
{
    (void)state;
    for (uint32_t offset = 0; offset < 0x400; offset += 16) {
        const struct reg *r = find_reg(offset);
        uint64_t value;

        setup(state);
        assert_int_equal(apic_get(&dom, 0, offset), r != NULL && (r->xapic & RO) ? r->reset : 0);
        go_x2apic(0);
        if (offset == 0x300) {
            assert_int_equal(must_rdmsr(0, 0x830), 0);
        } else if (r != NULL && (r->x2apic & RO)) {
            assert_int_equal(must_rdmsr(0, MSR(offset)), r->x2reset);
        } else {
            assert_int_equal(apic_rdmsr(&dom, 0, MSR(offset), &value), -EINVAL);
        }
    }
    vlapic_reset(&dom.apic[0], 5, true);
    assert_int_equal(dom.apic[0].apic_base, XAPIC | 0x100);
    assert_int_equal(apic_get(&dom, 0, 0x20), 5 << 24);
    assert_int_equal(must_rdmsr(0, MSR_TSC_DEADLINE), 0);
    vlapic_reset(&dom.apic[0], 5, false);
    assert_int_equal(dom.apic[0].apic_base, XAPIC);
}

static void test_vlapic_mmio__every_register__keeps_what_it_may(void **state)
{
    (void)state;
    for (uint32_t offset = 0; offset < 0x1000; offset += 16) {
        const struct reg *r = find_reg(offset);
        uint32_t values[] = {0xffffffff, 0, 0x55555555, 0xaaaaaaaa};

        if (r == NULL || r->xapic == NONE) {
            setup(state);
            assert_int_equal(apic_get(&dom, 0, offset), 0);
            assert_int_equal(dom.apic[0].esr_pending, 0x80);
            setup(state);
            apic_set(&dom, 0, offset, 0xffffffff);
            assert_int_equal(dom.apic[0].esr_pending, 0x80);
            continue;
        }
        for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
            uint32_t want = r->reset;

            setup(state);
            sw_enable(0);
            if (offset == 0x300) {
                values[i] &= ~0xc0000U; /* see the messages below */
                dom.apic[0].svr = 0x1ff;
            }
            apic_set(&dom, 0, offset, values[i]);
            if (r->xapic == RW) {
                want = (values[i] & r->sticks) | r->ones;
            }
            assert_int_equal(apic_get(&dom, 0, offset), r->xapic & RO ? want : 0);
            assert_int_equal(dom.apic[0].esr_pending & 0x80, 0);
        }
    }
}

static void test_vlapic_mmio__between_the_registers__nothing(void **state)
{
    struct vlapic before;

    (void)state;
    sw_enable(0);
    before = dom.apic[0];
    for (uint32_t offset = 0; offset < 0x1000; offset++) {
        if (offset % 16 != 0) {
            assert_int_equal(apic_get(&dom, 0, offset), 0);
            apic_set(&dom, 0, offset, 0xffffffff);
        }
    }
    assert_int_equal(apic_get(&dom, 0, 0x1000), 0);
    assert_int_equal(apic_get(&dom, 0, 0xfffffff0), 0);
    apic_set(&dom, 0, 0x1000 + 0x80, 0xff);
    assert_true(apic_same(&before, &dom.apic[0]));
}

/* One bit at a time: #GP and nothing changed, or kept. */
static void test_vlapic_msr__every_bit_of_every_register__as_the_manual_says(void **state)
{
    for (uint32_t index = 0x800; index < 0x900; index++) {
        uint32_t offset = (index - 0x800) * 16;
        const struct reg *r = find_reg(offset);
        uint8_t access = r != NULL ? r->x2apic : NONE;
        uint64_t value = 0x1234;

        setup(state);
        go_x2apic(0);
        sw_enable(0);
        assert_int_equal(apic_rdmsr(&dom, 0, index, &value), access & RO ? 0 : -EINVAL);
        assert_true((access & RO) || value == 0x1234);
        assert_int_equal(apic_wrmsr(&dom, 0, index, 0), access & WO ? 0 : -EINVAL);
        for (unsigned int bit = 0; bit < 64; bit++) {
            uint64_t may = r != NULL && (access & WO) ? r->sticks | r->vain : 0;
            struct vlapic before;

            may |= offset == 0x300 ? BITS(63, 32) : 0;
            may |= offset == 0x3f0 ? 0xff : 0;
            before = dom.apic[0];
            if (!(may & BIT(bit))) {
                assert_int_equal(apic_wrmsr(&dom, 0, index, BIT(bit)), -EINVAL);
                assert_true(apic_same(&before, &dom.apic[0]));
                continue;
            }
            if (offset == 0xf0 && bit != 8) { /* disabling would mask the entries */
                must_wrmsr(0, index, BIT(bit) | 0x100);
                assert_int_equal(must_rdmsr(0, index), BIT(bit) | 0x100);
                continue;
            }
            must_wrmsr(0, index, BIT(bit));
            if (access & RO) {
                assert_int_equal(must_rdmsr(0, index), BIT(bit) & ~(uint64_t)r->vain);
            }
        }
    }
}

static void test_vlapic_msr__numbers_that_are_not_its_own__gp(void **state)
{
    static const uint32_t indices[] = {0,          0x10,       0x1a,       0x1c,
                                       0x6df,      0x6e1,      0x7ff,      0x900,
                                       0x10000830, 0x40000808, 0xffffffff, 0xc0000808};
    uint64_t value;

    (void)state;
    go_x2apic(0);
    for (size_t i = 0; i < ARRAY_SIZE(indices); i++) {
        assert_int_equal(apic_rdmsr(&dom, 0, indices[i], &value), -EINVAL);
        assert_int_equal(apic_wrmsr(&dom, 0, indices[i], 0), -EINVAL);
    }
}

/* x2APIC MSRs outside x2APIC mode, memory outside xAPIC mode. */
static void test_vlapic_access__of_the_other_mode__nobody_there(void **state)
{
    static const uint64_t modes[] = {DISABLED, XAPIC, X2APIC};

    (void)state;
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        struct vlapic before;

        setup(state);
        dom.apic[0].apic_base = modes[m];
        before = dom.apic[0];
        for (uint32_t offset = 0; modes[m] != XAPIC && offset < 0x1000; offset += 4) {
            assert_int_equal(apic_get(&dom, 0, offset), 0xffffffff);
            apic_set(&dom, 0, offset, 0xffffffff);
        }
        for (uint32_t index = 0x800; modes[m] != X2APIC && index < 0x900; index++) {
            uint64_t value;

            assert_int_equal(apic_rdmsr(&dom, 0, index, &value), -EINVAL);
            assert_int_equal(apic_wrmsr(&dom, 0, index, 0), -EINVAL);
        }
        assert_true(apic_same(&before, &dom.apic[0]));
    }
}

static void test_vlapic_id__large_ones__cut_in_xapic_mode_only(void **state)
{
    (void)state;
    vlapic_reset(&dom.apic[0], 0x12345, false);
    assert_int_equal(apic_get(&dom, 0, 0x20), 0x45000000);
    apic_set(&dom, 0, 0x20, 0x77000000);
    assert_int_equal(apic_get(&dom, 0, 0x20), 0x45000000);
    go_x2apic(0);
    assert_int_equal(must_rdmsr(0, 0x802), 0x12345);
    assert_int_equal(must_rdmsr(0, 0x80d), 0x12340000 | 1 << 5);
}

/* ---- APIC_BASE ------------------------------------------------------------------------------- */

static const struct {
    uint64_t from, to;
    bool allowed;
} transitions[] = {
    {DISABLED, DISABLED, true}, {DISABLED, XAPIC, true},   {DISABLED, X2APIC, false},
    {DISABLED, INVALID, false}, {XAPIC, DISABLED, true},   {XAPIC, XAPIC, true},
    {XAPIC, X2APIC, true},      {XAPIC, INVALID, false},   {X2APIC, DISABLED, true},
    {X2APIC, XAPIC, false},     {X2APIC, X2APIC, true},    {X2APIC, INVALID, false},
};

static void fill(struct vlapic *a)
{
    memset(a->irr, 0xff, sizeof(a->irr));
    memset(a->isr, 0xee, sizeof(a->isr));
    memset(a->tmr, 0xdd, sizeof(a->tmr));
    a->tpr = 0x21;
    a->svr = 0x1aa;
    a->ldr = 0x12000000;
    a->dfr = 0x0fffffff;
    a->esr = 0x40;
    a->esr_pending = 0x20;
    a->icr = UINT64_C(0x1200000000004321);
    for (unsigned int i = 0; i < VLAPIC_LVTS; i++) {
        a->lvt[i] = 0x30 + i;
    }
    a->timer_divide = 0xb;
    a->timer_initial = 0xffffffff;
    a->timer_start = 1000;
    a->tsc_per_tick = 77;
}

static void test_vlapic_base__transitions__as_the_manual_draws_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(transitions); i++) {
        for (unsigned int bsp = 0; bsp < 2; bsp++) {
            struct vlapic *a = &dom.apic[0];
            struct vlapic want;

            setup(state);
            vlapic_reset(a, 0, bsp);
            if (transitions[i].from != DISABLED) {
                fill(a);
            }
            a->apic_base = transitions[i].from | bsp << 8;
            want = *a;
            if (transitions[i].allowed) {
                if (transitions[i].from != DISABLED && transitions[i].to == DISABLED) {
                    vlapic_reset(&want, 0, bsp);
                    want.tsc_per_tick = 77;
                }
                want.apic_base = transitions[i].to | bsp << 8;
            }
            assert_int_equal(apic_wrmsr(&dom, 0, MSR_APIC_BASE, transitions[i].to | bsp << 8),
                             transitions[i].allowed ? 0 : -EINVAL);
            assert_true(apic_same(&want, a));
            assert_int_equal(must_rdmsr(0, MSR_APIC_BASE), want.apic_base);
        }
    }
}

static void test_vlapic_base__reserved_bits__gp(void **state)
{
    (void)state;
    for (unsigned int bit = 0; bit < 64; bit++) {
        bool reserved = bit < 8 || bit == 9 || bit > 51;

        setup(state);
        if (bit == 10 || bit == 11) {
            continue;
        }
        assert_int_equal(apic_wrmsr(&dom, 0, MSR_APIC_BASE, XAPIC ^ BIT(bit)),
                         reserved ? -EINVAL : 0);
        assert_int_equal(vlapic_base(&dom.apic[0]),
                         bit >= 12 && !reserved ? BASE_DEFAULT ^ BIT(bit) : BASE_DEFAULT);
    }
}

/* What multiboot payloads do: off and on again, then use it; CR8 works all the time. */
static void test_vlapic_base__off_and_on__works_again(void **state)
{
    (void)state;
    for (unsigned int from_x2 = 0; from_x2 < 2; from_x2++) {
        setup(state);
        apic_set(&dom, 0, 0xf0, 0x1ff);
        apic_set(&dom, 0, 0x350, 0x700);
        apic_set(&dom, 0, 0x80, 0x50);
        if (from_x2) {
            go_x2apic(0);
        }
        must_wrmsr(0, MSR_APIC_BASE, must_rdmsr(0, MSR_APIC_BASE) & ~UINT64_C(0xc00));
        assert_false(vlapic_enabled(&dom.apic[0]));
        assert_int_equal(apic_get(&dom, 0, 0x30), 0xffffffff);
        assert_int_equal(vlapic_cr8(&dom.apic[0]), 0);
        vlapic_set_cr8(&dom.apic[0], 0xf);
        assert_int_equal(vlapic_cr8(&dom.apic[0]), 0xf);
        vlapic_set_cr8(&dom.apic[0], 3);
        assert_false(vlapic_accept(&dom.apic[0], 0x55, false));
        must_wrmsr(0, MSR_APIC_BASE, must_rdmsr(0, MSR_APIC_BASE) | 0x800);
        assert_int_equal(apic_get(&dom, 0, 0x30), 0x50014);
        assert_int_equal(apic_get(&dom, 0, 0x80), 0x30);
        assert_int_equal(apic_get(&dom, 0, 0x350), 0x10000);
        assert_int_equal(apic_get(&dom, 0, 0xf0), 0xff);
        assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
        apic_set(&dom, 0, 0xf0, 0x1ff);
        apic_set(&dom, 0, 0x300, 0x40055);
        assert_int_equal(vlapic_pending(&dom.apic[0]), 0x55);
        go_x2apic(0);
        assert_int_equal(must_rdmsr(0, 0x80f), 0x1ff);
        assert_int_equal(vlapic_pending(&dom.apic[0]), 0x55);
    }
}

static void test_vlapic_init_signal__any_mode__registers_reset_mode_and_id_stay(void **state)
{
    static const uint64_t modes[] = {DISABLED, XAPIC, X2APIC, XAPIC | 0x100, X2APIC | 0x100};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        struct vlapic want, a;

        vlapic_reset(&a, 9, true);
        fill(&a);
        a.apic_base = modes[i];
        vlapic_init_signal(&a);
        vlapic_reset(&want, 9, false);
        want.apic_base = modes[i];
        want.tsc_per_tick = 77;
        assert_true(apic_same(&want, &a));
    }
}

/* ---- Software disable ------------------------------------------------------------------------ */

static void test_vlapic_svr__disable__masks_entries_for_good(void **state)
{
    for (unsigned int x2 = 0; x2 < 2; x2++) {
        setup(state);
        apic_set(&dom, 0, 0xf0, 0x1f0);
        for (uint32_t offset = 0x320; offset <= 0x370; offset += 16) {
            apic_set(&dom, 0, offset, 0x40);
            assert_int_equal(apic_get(&dom, 0, offset), 0x40);
        }
        assert_true(vlapic_accept(&dom.apic[0], 0x99, false));
        if (x2) {
            go_x2apic(0);
            must_wrmsr(0, 0x80f, 0xf0);
            must_wrmsr(0, 0x832, 0x41);
        } else {
            apic_set(&dom, 0, 0xf0, 0xf0);
            apic_set(&dom, 0, 0x320, 0x41);
        }
        assert_int_equal(dom.apic[0].lvt[0], 0x10041);
        for (unsigned int i = 1; i < VLAPIC_LVTS; i++) {
            assert_int_equal(dom.apic[0].lvt[i], 0x10040);
        }
        assert_false(vlapic_accept(&dom.apic[0], 0x55, false));
        assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
        if (x2) {
            must_wrmsr(0, 0x80f, 0x1f0);
        } else {
            apic_set(&dom, 0, 0xf0, 0x1f0);
        }
        assert_int_equal(dom.apic[0].lvt[0], 0x10041);
        assert_int_equal(vlapic_pending(&dom.apic[0]), 0x99); /* was held */
    }
}

/* ---- Priorities ------------------------------------------------------------------------------ */

struct model {
    bool irr[256], isr[256], tmr[256];
    unsigned int tpr;
    bool enabled;
    unsigned int eois[256];
};

static int model_highest(const bool map[256])
{
    int best = -1;

    for (int v = 0; v < 256; v++) {
        best = map[v] ? v : best;
    }
    return best;
}

static unsigned int model_ppr(const struct model *m)
{
    unsigned int isrv = (unsigned int)MAX(model_highest(m->isr), 0);

    if ((m->tpr >> 4) >= (isrv >> 4)) {
        return m->tpr;
    }
    return isrv >> 4 << 4;
}

/* The formula of the manual, as it stands there. */
static unsigned int model_apr(const struct model *m)
{
    unsigned int tpr = m->tpr >> 4;
    unsigned int isrv = (unsigned int)MAX(model_highest(m->isr), 0) >> 4;
    unsigned int irrv = (unsigned int)MAX(model_highest(m->irr), 0) >> 4;

    if (tpr >= irrv && tpr > isrv) {
        return m->tpr;
    }
    return ((tpr & isrv) > irrv ? (tpr & isrv) : irrv) << 4;
}

static int model_pending(const struct model *m)
{
    int best = -1;

    for (int v = 16; v < 256; v++) {
        if (m->enabled && m->irr[v] && (unsigned int)v >> 4 > model_ppr(m) >> 4) {
            best = v;
        }
    }
    return best;
}

static void check_map(uint32_t offset, const bool map[256])
{
    for (unsigned int v = 0; v < 256; v++) {
        uint32_t word = apic_get(&dom, 0, offset + v / 32 * 16);

        assert_int_equal(word >> v % 32 & 1, map[v]);
    }
}

static void model_step(struct model *m)
{
    uint64_t random = apic_domain_random(&dom);
    uint8_t vector = (uint8_t)(random >> 32);
    bool level = random >> 40 & 1;
    int pending = model_pending(m);
    int in_service = model_highest(m->isr);

    switch (random % 8) {
    case 0:
    case 1:
    case 2:
        assert_int_equal(vlapic_accept(&dom.apic[0], vector, level), m->enabled && vector >= 16);
        if (m->enabled && vector >= 16) {
            m->irr[vector] = true;
            m->tmr[vector] = level;
        }
        break;
    case 3:
    case 4:
        if (pending >= 0) {
            vlapic_take(&dom.apic[0], (uint8_t)pending);
            m->irr[pending] = false;
            m->isr[pending] = true;
        }
        break;
    case 5:
        apic_set(&dom, 0, 0xb0, (uint32_t)random);
        if (in_service >= 0) {
            m->isr[in_service] = false;
            m->eois[in_service] += m->tmr[in_service];
        }
        break;
    case 6:
        if (level) {
            m->tpr = vector;
            apic_set(&dom, 0, 0x80, vector | 0xabcd00);
        } else {
            m->tpr = (vector & 0xfU) << 4;
            vlapic_set_cr8(&dom.apic[0], vector & 0xf);
        }
        break;
    default:
        m->enabled = vector % 8 != 0;
        apic_set(&dom, 0, 0xf0, 0xff | (uint32_t)m->enabled << 8);
        break;
    }
}

static void test_vlapic_priorities__random_traces__as_the_brute_force_model(void **state)
{
    for (unsigned int seed = 0; seed < 20; seed++) {
        struct model m = {.enabled = false};

        (void)state;
        apic_domain_init(&dom, 1, seed);
        for (unsigned int step = 0; step < 1500; step++) {
            model_step(&m);
            assert_int_equal(vlapic_pending(&dom.apic[0]), model_pending(&m));
            assert_int_equal(vlapic_enabled(&dom.apic[0]), m.enabled);
            assert_int_equal(apic_get(&dom, 0, 0x80), m.tpr);
            assert_int_equal(apic_get(&dom, 0, 0x90), model_apr(&m));
            assert_int_equal(apic_get(&dom, 0, 0xa0), model_ppr(&m));
            assert_int_equal(vlapic_cr8(&dom.apic[0]), m.tpr >> 4);
            if (step % 16 == 0) {
                check_map(0x100, m.isr);
                check_map(0x180, m.tmr);
                check_map(0x200, m.irr);
                assert_memory_equal(m.eois, dom.eois, sizeof(m.eois));
            }
        }
    }
}

static void test_vlapic_pending__every_vector_against_every_tpr__class_decides(void **state)
{
    (void)state;
    sw_enable(0);
    for (unsigned int tpr = 0; tpr < 256; tpr++) {
        for (unsigned int vector = 16; vector < 256; vector++) {
            memset(dom.apic[0].irr, 0, sizeof(dom.apic[0].irr));
            apic_set(&dom, 0, 0x80, tpr);
            assert_true(vlapic_accept(&dom.apic[0], (uint8_t)vector, false));
            assert_int_equal(vlapic_pending(&dom.apic[0]),
                             vector >> 4 > tpr >> 4 ? (int)vector : -1);
        }
    }
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* Modes, logical ids and states of the domain's APICs, in turn. */
static const struct {
    uint64_t base;
    uint32_t ldr;
    uint32_t dfr;
    uint32_t tpr;
    bool sw_enabled;
} crowd[] = {
    {XAPIC, 0x01000000, 0xffffffff, 0x40, true},
    {XAPIC, 0x02000000, 0xffffffff, 0x30, true},
    {XAPIC, 0x81000000, 0xffffffff, 0x30, true},
    {XAPIC, 0x12000000, 0x0fffffff, 0x20, true},
    {XAPIC, 0x14000000, 0x0fffffff, 0x00, true},
    {XAPIC, 0x21000000, 0x0fffffff, 0x50, true},
    {XAPIC, 0xff000000, 0x3fffffff, 0x50, true}, /* no such model: no logical destination */
    {XAPIC, 0x07000000, 0xffffffff, 0x00, false},
    {DISABLED, 0x04000000, 0xffffffff, 0x00, true},
    {X2APIC, 0, 0, 0x10, true},
    {X2APIC, 0, 0, 0x00, false},
    {X2APIC, 0, 0, 0xf0, true},
};

static void make_crowd(void)
{
    apic_domain_init(&dom, APIC_DOMAIN_CPUS, 3);
    for (unsigned int i = 0; i < dom.nr; i++) {
        struct vlapic *a = &dom.apic[i];
        size_t kind = i % ARRAY_SIZE(crowd);

        a->apic_base = crowd[kind].base;
        a->ldr = crowd[kind].ldr;
        a->dfr = crowd[kind].dfr;
        a->tpr = crowd[kind].tpr;
        a->svr = 0xff | (uint32_t)crowd[kind].sw_enabled << 8;
    }
}

/* A message as its sender means it; destination with the sender's width. */
struct sent {
    bool wide;          /* 32-bit destinations, from x2APIC mode */
    int from;           /* -1: not an APIC */
    uint32_t shorthand; /* 0 to 3 */
    uint32_t destination;
    bool logical;
    uint32_t mode;
    uint8_t vector;
};

static bool reaches(const struct sent *s, unsigned int i)
{
    size_t kind = i % ARRAY_SIZE(crowd);
    uint32_t all = s->wide ? 0xffffffff : 0xff;
    uint32_t mda = s->destination;
    uint32_t l = crowd[kind].ldr >> 24;

    if (crowd[kind].base == DISABLED) {
        return false;
    }
    switch (s->shorthand) {
    case 1:
        return (int)i == s->from;
    case 2:
        return true;
    case 3:
        return (int)i != s->from;
    default:
        break;
    }
    if (mda == all) {
        return true;
    }
    if (!s->logical) {
        return mda == i;
    }
    if (crowd[kind].base == X2APIC) {
        return mda / 65536 == i / 16 && (mda % 65536 >> i % 16 & 1);
    }
    if (mda > 0xff) {
        return false;
    }
    if (crowd[kind].dfr == 0xffffffff) {
        return (mda & l) != 0;
    }
    return crowd[kind].dfr == 0x0fffffff && mda / 16 == l / 16 && (mda % 16 & l % 16) != 0;
}

/* What the message should have done to the domain as it was before. */
static void check_sent(const struct sent *s)
{
    unsigned int kicks = 0;
    int lowest = -1;

    if (s->mode == 1) {
        for (unsigned int i = 0; i < dom.nr; i++) {
            size_t kind = i % ARRAY_SIZE(crowd);

            if (reaches(s, i) && crowd[kind].sw_enabled &&
                (lowest < 0 || crowd[kind].tpr < crowd[(size_t)lowest % ARRAY_SIZE(crowd)].tpr)) {
                lowest = (int)i;
            }
        }
    }
    for (unsigned int i = 0; i < dom.nr; i++) {
        struct vlapic *a = &dom.apic[i];
        bool to = s->mode == 1 ? (int)i == lowest : reaches(s, i);
        bool irq = to && s->mode <= 1 && crowd[i % ARRAY_SIZE(crowd)].sw_enabled;
        bool none = s->mode == 2 || s->mode == 3 || s->mode == 7;
        bool illegal = s->vector < 16;
        uint32_t errors = 0;

        assert_int_equal(a->irr[s->vector / 32], irq && !illegal ? 1U << s->vector % 32 : 0);
        assert_int_equal(a->tmr[s->vector / 32], 0);
        errors |= irq && illegal ? 0x40 : 0;
        errors |= s->mode <= 1 && illegal && (int)i == s->from ? 0x20 : 0;
        assert_int_equal(a->esr_pending, errors);
        assert_int_equal(dom.nmis[i], to && s->mode == 4);
        assert_int_equal(dom.inits[i], to && s->mode == 5);
        assert_int_equal(dom.sipis[i], to && s->mode == 6);
        assert_int_equal(dom.kicks[i], to && !none);
        kicks += dom.kicks[i];
    }
    assert_int_equal(dom.sipi_vector, s->mode == 6 && kicks != 0 ? s->vector : 0);
}

static const uint32_t narrow_destinations[] = {0,    1,    2,    4,    5,    8,    9,    11,
                                               12,   23,   24,   0x11, 0x12, 0x16, 0x1f, 0x21,
                                               0x80, 0xf1, 0xf7, 0xfe, 0xff, 0x04, 0x07, 0x22};
static const uint32_t wide_destinations[] = {
    0,       1,          3,          8,          9,          10,        11,      21,      22,
    23,      24,         0x80,       0xfe,       0xff,       0x100,     0x109,   0x200,   0x400,
    0x800,   0xe00,      0xffff,     0x10000,    0x10020,    0x10040,   0x10080, 0x100ff, 0x1ffff,
    0x20001, 0xfffffffe, 0xffffffff, 0xffff0001, 0x01000000, 0x80000000};

static const uint8_t message_vectors[] = {0, 15, 16, 0x9a, 255};

static void test_vlapic_icr__matrix_of_messages__reaches_whom_it_should(void **state)
{
    static const int senders[] = {0, 7, 9, 10}; /* each mode, enabled by software or not */

    (void)state;
    for (uint32_t n = 0; n < ARRAY_SIZE(senders) * 2 * 8 * 4 * 40; n++) {
        struct sent s = {.from = senders[n % 4],
                         .logical = n / 4 % 2,
                         .mode = n / 8 % 8,
                         .shorthand = n / 64 % 4};
        uint32_t d = n / 256;
        uint32_t low;

        s.vector = message_vectors[(n / 8 + d) % ARRAY_SIZE(message_vectors)];
        s.wide = s.from >= 9;
        if (d >= (s.wide ? ARRAY_SIZE(wide_destinations) : ARRAY_SIZE(narrow_destinations))) {
            continue;
        }
        s.destination = s.wide ? wide_destinations[d] : narrow_destinations[d];
        low = s.vector | s.mode << 8 | (uint32_t)s.logical << 11 | 0x4000 | s.shorthand << 18;
        make_crowd();
        if (s.wide) {
            must_wrmsr((unsigned int)s.from, 0x830, (uint64_t)s.destination << 32 | low);
            assert_int_equal(must_rdmsr((unsigned int)s.from, 0x830),
                             (uint64_t)s.destination << 32 | low);
        } else {
            apic_set(&dom, (unsigned int)s.from, 0x310, s.destination << 24 | 0x123456);
            assert_int_equal(dom.kicks[0] + dom.kicks[1], 0);
            apic_set(&dom, (unsigned int)s.from, 0x300, low | 0x1000);
            assert_int_equal(apic_get(&dom, (unsigned int)s.from, 0x300), low);
            assert_int_equal(apic_get(&dom, (unsigned int)s.from, 0x310), s.destination << 24);
        }
        check_sent(&s);
    }
}

static void test_vlapic_deliver__matrix_of_messages__reaches_whom_it_should(void **state)
{
    (void)state;
    for (uint32_t destination = 0; destination < 256; destination++) {
        for (uint32_t n = 0; n < 2 * 8; n++) {
            struct sent s = {.from = -1,
                             .destination = destination,
                             .logical = n % 2,
                             .mode = n / 2,
                             .vector = message_vectors[(destination + n) % 5]};
            unsigned int reached = 0;
            bool accepted;

            make_crowd();
            accepted = vlapic_deliver(&apic_domain_bus, &dom, (uint8_t)destination, s.logical,
                                      (uint8_t)s.mode, s.vector, false);
            check_sent(&s);
            for (unsigned int i = 0; i < dom.nr; i++) {
                bool irq = dom.apic[i].irr[s.vector / 32] != 0;

                reached += irq + dom.nmis[i] + dom.inits[i] + dom.sipis[i];
            }
            assert_int_equal(accepted, reached != 0);
        }
    }
}

static void test_vlapic_deliver__level__sets_tmr_and_eoi_goes_out(void **state)
{
    (void)state;
    sw_enable(0);
    assert_true(vlapic_deliver(&apic_domain_bus, &dom, 0, false, 0, 0x61, true));
    assert_int_equal(apic_get(&dom, 0, 0x180 + 0x30), 2);
    vlapic_take(&dom.apic[0], 0x61);
    apic_set(&dom, 0, 0xb0, 0);
    assert_int_equal(dom.eois[0x61], 1);
    assert_true(vlapic_deliver(&apic_domain_bus, &dom, 0, false, 0, 0x61, false));
    assert_int_equal(apic_get(&dom, 0, 0x180 + 0x30), 0);
    vlapic_take(&dom.apic[0], 0x61);
    apic_set(&dom, 0, 0xb0, 0);
    assert_int_equal(dom.eois[0x61], 1);
    apic_set(&dom, 0, 0xb0, 0); /* nothing in service */
    assert_int_equal(dom.eois[0x61], 1);
}

static void test_vlapic_icr__init_and_trigger_bits__deassert_alone_is_ignored(void **state)
{
    static const struct {
        uint32_t bits; /* 14 assert, 15 level */
        unsigned int inits;
    } cases[] = {{0x0000, 1}, {0x4000, 1}, {0x8000, 0}, {0xc000, 1}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (unsigned int to_all = 0; to_all < 2; to_all++) {
            apic_domain_init(&dom, 3, 0);
            apic_set(&dom, 0, 0x310, 1 << 24);
            apic_set(&dom, 0, 0x300, 0x500 | cases[i].bits | (to_all ? 0xc0000 : 0));
            assert_int_equal(dom.inits[0], 0);
            assert_int_equal(dom.inits[1], cases[i].inits);
            assert_int_equal(dom.inits[2], to_all ? cases[i].inits : 0);
        }
        /* Fixed interrupts are edges whatever the bits say. */
        apic_domain_init(&dom, 2, 0);
        sw_enable(1);
        apic_set(&dom, 0, 0x310, 1 << 24);
        apic_set(&dom, 0, 0x300, 0x44 | cases[i].bits);
        assert_int_equal(vlapic_pending(&dom.apic[1]), 0x44);
        assert_int_equal(dom.apic[1].tmr[2], 0);
    }
}

static void test_vlapic_icr__lowest_priority__ppr_counts_what_is_in_service(void **state)
{
    (void)state;
    apic_domain_init(&dom, 4, 0);
    for (unsigned int i = 0; i < 4; i++) {
        sw_enable(i);
        apic_set(&dom, i, 0xd0, 1U << (24 + i));
    }
    assert_true(vlapic_deliver(&apic_domain_bus, &dom, 0x0e, true, 1, 0x50, false));
    assert_int_equal(vlapic_pending(&dom.apic[1]), 0x50); /* all equal: the first */
    vlapic_take(&dom.apic[1], 0x50);
    apic_set(&dom, 2, 0x80, 0x20);
    assert_true(vlapic_deliver(&apic_domain_bus, &dom, 0x0e, true, 1, 0x51, false));
    assert_int_equal(vlapic_pending(&dom.apic[3]), 0x51);
    vlapic_take(&dom.apic[3], 0x51);
    assert_true(vlapic_deliver(&apic_domain_bus, &dom, 0x0e, true, 1, 0x52, false));
    assert_int_equal(vlapic_pending(&dom.apic[2]), 0x52);
    assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
}

static void test_vlapic_self_ipi__every_vector__pending_or_both_errors(void **state)
{
    for (unsigned int vector = 0; vector < 256; vector++) {
        setup(state);
        go_x2apic(0);
        sw_enable(0);
        must_wrmsr(0, 0x83f, vector);
        assert_int_equal(vlapic_pending(&dom.apic[0]), vector < 16 ? -1 : (int)vector);
        must_wrmsr(0, 0x828, 0);
        assert_int_equal(must_rdmsr(0, 0x828), vector < 16 ? 0x60 : 0);
        assert_int_equal(dom.kicks[0], 1);
    }
}

/* ---- Errors ---------------------------------------------------------------------------------- */

static void test_vlapic_esr__written__shows_errors_since_the_last_write(void **state)
{
    (void)state;
    sw_enable(0);
    (void)apic_get(&dom, 0, 0x10);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0);
    apic_set(&dom, 0, 0x280, 0xffffffff);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0x80);
    apic_set(&dom, 0, 0x300, 0x4000f); /* self IPI */
    assert_int_equal(apic_get(&dom, 0, 0x280), 0x80);
    apic_set(&dom, 0, 0x280, 0);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0x60);
    apic_set(&dom, 0, 0x280, 0);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0);
    /* The vector of a message without one is not looked at. */
    apic_set(&dom, 0, 0x300, 0x40400);
    apic_set(&dom, 0, 0x280, 0);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0);
}

static void test_vlapic_error__interrupt__once_until_esr_is_written(void **state)
{
    (void)state;
    sw_enable(0);
    apic_set(&dom, 0, 0x370, 0xe1);
    assert_false(vlapic_accept(&dom.apic[0], 3, false));
    assert_int_equal(vlapic_pending(&dom.apic[0]), 0xe1);
    vlapic_take(&dom.apic[0], 0xe1);
    apic_set(&dom, 0, 0xb0, 0);
    assert_false(vlapic_accept(&dom.apic[0], 4, false));
    (void)apic_get(&dom, 0, 0x400);
    assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
    apic_set(&dom, 0, 0x280, 0);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0xc0);
    (void)apic_get(&dom, 0, 0x400);
    assert_int_equal(vlapic_pending(&dom.apic[0]), 0xe1);
}

static void test_vlapic_error__masked_or_illegal_itself__logged_only(void **state)
{
    (void)state;
    sw_enable(0);
    apic_set(&dom, 0, 0x370, 0x100e1);
    assert_false(vlapic_accept(&dom.apic[0], 3, true));
    assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
    apic_set(&dom, 0, 0x280, 0);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0x40);
    apic_set(&dom, 0, 0x370, 0x0e);
    (void)apic_get(&dom, 0, 0x2f0); /* CMCI is not there */
    assert_int_equal(vlapic_pending(&dom.apic[0]), -1);
    apic_set(&dom, 0, 0x280, 0);
    assert_int_equal(apic_get(&dom, 0, 0x280), 0xc0);
}

/* ---- Any state: safe, and all of it in the members ------------------------------------------- */

static uint32_t random_offset(struct apic_domain *d)
{
    const struct reg *r = &regs[apic_domain_random(d) % ARRAY_SIZE(regs)];

    return r->offset + (uint32_t)(apic_domain_random(d) % r->count) * 16;
}

/* Something a guest or a device may do; the answer as far as there is one. */
static uint64_t random_step(struct apic_domain *d)
{
    uint64_t random = apic_domain_random(d);
    unsigned int i = (unsigned int)(random >> 8) % d->nr;
    uint32_t offset = random_offset(d);
    uint64_t value = apic_domain_random(d) >> (random >> 16) % 64;
    uint64_t answer = 0;
    int pending = vlapic_pending(&d->apic[i]);

    d->now += value % (random >> 20 & 1 ? 100 : 100000000);
    switch (random % 14) {
    case 0:
    case 1:
        answer = apic_get(d, i, offset);
        break;
    case 2:
    case 3:
        apic_set(d, i, offset, (uint32_t)value);
        break;
    case 4:
        answer = (uint64_t)apic_rdmsr(d, i, MSR(offset), &answer) + answer;
        break;
    case 5:
        answer = (uint64_t)apic_wrmsr(d, i, MSR(offset), value);
        break;
    case 6:
        answer = (uint64_t)apic_wrmsr(d, i, MSR_APIC_BASE,
                                      BASE_DEFAULT | (value & 1 ? 0x800 : value & 0xc00));
        break;
    case 7:
        answer = (uint64_t)apic_wrmsr(d, i, MSR_TSC_DEADLINE, d->now + value);
        break;
    case 8:
        answer = vlapic_accept(&d->apic[i], (uint8_t)value, value >> 8 & 1);
        break;
    case 9:
        answer = vlapic_deliver(&apic_domain_bus, d, (uint8_t)value, value >> 8 & 1, value >> 9 & 7,
                                (uint8_t)(value >> 16), value >> 24 & 1);
        break;
    case 10:
        if (pending >= 0) {
            vlapic_take(&d->apic[i], (uint8_t)pending);
        }
        break;
    case 11:
        vlapic_timer_tick(&d->apic[i], d->now);
        answer = vlapic_timer_next(&d->apic[i]);
        break;
    case 12:
        apic_set(d, i, 0xf0, 0x1ff);
        vlapic_set_cr8(&d->apic[i], value);
        break;
    default:
        if (value % 16 == 0) {
            vlapic_init_signal(&d->apic[i]);
        } else {
            vlapic_tsc_moved(&d->apic[i], value % 1000);
        }
        break;
    }
    return answer + (uint64_t)vlapic_pending(&d->apic[i]) + vlapic_cr8(&d->apic[i]);
}

/* At every step the other domain is made anew from the members of the first. */
static void test_vlapic_state__copied_at_every_step__goes_on_identically(void **state)
{
    static struct apic_domain other;

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        apic_domain_init(&dom, 3, seed);
        for (unsigned int step = 0; step < 4000; step++) {
            struct apic_domain *d = &dom;

            memcpy(&other, d, sizeof(other));
            for (unsigned int i = 0; i < d->nr; i++) {
                memset(&other.apic[i], 0xa5, sizeof(other.apic[i]));
                apic_copy(&other.apic[i], &d->apic[i]);
            }
            for (unsigned int more = 0; more < 1 + step % 5; more++) {
                assert_int_equal(random_step(d), random_step(&other));
            }
            for (unsigned int i = 0; i < d->nr; i++) {
                assert_true(apic_same(&d->apic[i], &other.apic[i]));
            }
            assert_memory_equal(d->kicks, other.kicks, sizeof(d->kicks));
            assert_memory_equal(d->eois, other.eois, sizeof(d->eois));
            assert_memory_equal(d->nmis, other.nmis, sizeof(d->nmis));
            assert_memory_equal(d->inits, other.inits, sizeof(d->inits));
            assert_memory_equal(d->sipis, other.sipis, sizeof(d->sipis));
        }
    }
}

/* A record may bring anything. */
static void test_vlapic_state__garbage__is_survived(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        apic_domain_init(&dom, 3, seed);
        for (unsigned int i = 0; i < dom.nr; i++) {
            uint8_t *bytes = (uint8_t *)&dom.apic[i];

            for (size_t b = 0; b < sizeof(dom.apic[i]); b++) {
                uint64_t random = apic_domain_random(&dom);

                bytes[b] = random & 0x300 ? (uint8_t)random : (uint8_t)(random >> 8 & 1 ? 0xff : 0);
            }
        }
        dom.now = apic_domain_random(&dom);
        for (unsigned int step = 0; step < 60; step++) {
            (void)random_step(&dom);
        }
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_vlapic_reset__every_register__has_its_value, setup),
        cmocka_unit_test_setup(test_vlapic_mmio__every_register__keeps_what_it_may, setup),
        cmocka_unit_test_setup(test_vlapic_mmio__between_the_registers__nothing, setup),
        cmocka_unit_test_setup(test_vlapic_msr__every_bit_of_every_register__as_the_manual_says,
                               setup),
        cmocka_unit_test_setup(test_vlapic_msr__numbers_that_are_not_its_own__gp, setup),
        cmocka_unit_test_setup(test_vlapic_access__of_the_other_mode__nobody_there, setup),
        cmocka_unit_test_setup(test_vlapic_id__large_ones__cut_in_xapic_mode_only, setup),
        cmocka_unit_test_setup(test_vlapic_base__transitions__as_the_manual_draws_them, setup),
        cmocka_unit_test_setup(test_vlapic_base__reserved_bits__gp, setup),
        cmocka_unit_test_setup(test_vlapic_base__off_and_on__works_again, setup),
        cmocka_unit_test_setup(test_vlapic_init_signal__any_mode__registers_reset_mode_and_id_stay,
                               setup),
        cmocka_unit_test_setup(test_vlapic_svr__disable__masks_entries_for_good, setup),
        cmocka_unit_test_setup(test_vlapic_priorities__random_traces__as_the_brute_force_model,
                               setup),
        cmocka_unit_test_setup(test_vlapic_pending__every_vector_against_every_tpr__class_decides,
                               setup),
        cmocka_unit_test_setup(test_vlapic_icr__matrix_of_messages__reaches_whom_it_should, setup),
        cmocka_unit_test_setup(test_vlapic_deliver__matrix_of_messages__reaches_whom_it_should,
                               setup),
        cmocka_unit_test_setup(test_vlapic_deliver__level__sets_tmr_and_eoi_goes_out, setup),
        cmocka_unit_test_setup(test_vlapic_icr__init_and_trigger_bits__deassert_alone_is_ignored,
                               setup),
        cmocka_unit_test_setup(test_vlapic_icr__lowest_priority__ppr_counts_what_is_in_service,
                               setup),
        cmocka_unit_test_setup(test_vlapic_self_ipi__every_vector__pending_or_both_errors, setup),
        cmocka_unit_test_setup(test_vlapic_esr__written__shows_errors_since_the_last_write, setup),
        cmocka_unit_test_setup(test_vlapic_error__interrupt__once_until_esr_is_written, setup),
        cmocka_unit_test_setup(test_vlapic_error__masked_or_illegal_itself__logged_only, setup),
        cmocka_unit_test_setup(test_vlapic_state__copied_at_every_step__goes_on_identically, setup),
        cmocka_unit_test_setup(test_vlapic_state__garbage__is_survived, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
