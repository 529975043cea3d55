/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC of a vCPU: modes and registers.
 *
 * One table says which registers there are, in which mode, and what may be written to them. Every
 * access first brings the timer up to date. EOI-broadcast suppression, CMCI and the extended
 * registers are not offered; the ID is read-only, as on every processor since Nehalem.
 * SDM volume 3, "Local APIC", "Extended XAPIC (x2APIC)". Host test: tests/host/test_vlapic.c
 * Lock: the caller's; one access at a time in a domain.
 */
#include "hv/vlapic.h"

#include "hv/errno.h"
#include "hv/string.h"
#include "hw/x86.h"
#include "vlapic_priv.h"

#define REGISTERS 64U /* those behind are reserved in both modes */
#define VERSION (APIC_VERSION_INTEGRATED | (VLAPIC_LVTS - 1) << APIC_VERSION_MAX_LVT_SHIFT)

/* ---- Modes ----------------------------------------------------------------------------------- */

/* SDM volume 3, "Local APIC State After Power-Up or Reset" */
static void reset_registers(struct vlapic *a)
{
    a->tpr = 0;
    a->svr = APIC_SVR_VECTOR;
    a->ldr = 0;
    a->dfr = UINT32_MAX;
    a->esr = 0;
    a->esr_pending = 0;
    a->icr = 0;
    for (unsigned int i = 0; i < VLAPIC_LVTS; i++) {
        a->lvt[i] = APIC_LVT_MASKED;
    }
    memset(a->irr, 0, sizeof(a->irr));
    memset(a->isr, 0, sizeof(a->isr));
    memset(a->tmr, 0, sizeof(a->tmr));
    vlapic_timer_reset(a);
}

void vlapic_reset(struct vlapic *a, unsigned int id, bool bsp)
{
    memset(a, 0, sizeof(*a));
    a->id = id;
    a->apic_base = VLAPIC_MMIO_BASE | APIC_BASE_EN | (bsp ? APIC_BASE_BSP : 0);
    a->tsc_per_tick = 1;
    reset_registers(a);
}

void vlapic_init_signal(struct vlapic *a)
{
    reset_registers(a);
}

paddr_t vlapic_base(const struct vlapic *a)
{
    return a->apic_base & APIC_BASE_ADDR;
}

/* SDM volume 3, "x2APIC State Transitions". Going to x2APIC mode keeps all registers; what is
 * disabled loses them. */
static int set_base(struct vlapic *a, uint64_t value)
{
    bool was_on = a->apic_base & APIC_BASE_EN;
    bool was_x2 = a->apic_base & APIC_BASE_EXTD;
    bool on = value & APIC_BASE_EN;
    bool x2 = value & APIC_BASE_EXTD;

    if (value & ~(APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN | APIC_BASE_ADDR)) {
        return -EINVAL;
    }
    if ((x2 && !on) || (x2 && !was_on) || (was_x2 && on && !x2)) {
        return -EINVAL;
    }
    a->apic_base = value;
    if (was_on && !on) {
        reset_registers(a);
    }
    return 0;
}

/* ---- Registers ------------------------------------------------------------------------------- */

#define R 1U
#define W 2U
#define RW (R | W)

/* 0: reserved. Writable bits are kept, ignored ones (read-only flags) may be written in vain; any
 * other is #GP in x2APIC mode and dropped in xAPIC mode. */
struct rule {
    uint8_t xapic;
    uint8_t x2apic;
    uint32_t writable;
    uint32_t ignored;
};

#define AT(offset) [(offset) / APIC_REGISTER_STEP]
#define EIGHT_AT(offset) \
    [(offset) / APIC_REGISTER_STEP...(offset) / APIC_REGISTER_STEP + 7] = {R, R, 0, 0}
#define LVT(writable, ignored)                                          \
    {                                                                   \
        RW, RW, APIC_LVT_VECTOR | APIC_LVT_MASKED | (writable), ignored \
    }
#define LINT                                                  \
    LVT(APIC_LVT_MODE | APIC_LVT_ACTIVE_LOW | APIC_LVT_LEVEL, \
        APIC_LVT_PENDING | APIC_LVT_REMOTE_IRR)

/* SDM volume 3, "Local APIC Register Address Map", "Local APIC Register Address Map Supported by
 * x2APIC"; in the latter ICR is one register, handled apart. */
static const struct rule rules[REGISTERS] = {
    AT(APIC_ID) = {R, R, 0, 0},
    AT(APIC_VERSION) = {R, R, 0, 0},
    AT(APIC_TPR) = {RW, RW, APIC_TPR_MASK, 0},
    AT(APIC_APR) = {R, 0, 0, 0},
    AT(APIC_PPR) = {R, R, 0, 0},
    AT(APIC_EOI) = {W, W, 0, 0},
    AT(APIC_RRD) = {R, 0, 0, 0},
    AT(APIC_LDR) = {RW, R, APIC_LDR_MASK, 0},
    AT(APIC_DFR) = {RW, 0, APIC_DFR_MODEL, 0},
    AT(APIC_SVR) = {RW, RW, APIC_SVR_VECTOR | APIC_SVR_ENABLE | APIC_SVR_FOCUS_OFF, 0},
    EIGHT_AT(APIC_ISR),
    EIGHT_AT(APIC_TMR),
    EIGHT_AT(APIC_IRR),
    AT(APIC_ESR) = {RW, RW, 0, 0},
    AT(APIC_ICR_LOW) = {RW, RW,
                        APIC_ICR_VECTOR | APIC_ICR_MODE | APIC_ICR_LOGICAL | APIC_ICR_ASSERT |
                            APIC_ICR_LEVEL | APIC_ICR_SHORTHAND,
                        APIC_ICR_PENDING},
    AT(APIC_ICR_HIGH) = {RW, 0, APIC_ICR_HIGH_DEST, 0},
    AT(APIC_LVT_TIMER) = LVT(APIC_LVT_TIMER_MODE, APIC_LVT_PENDING),
    AT(APIC_LVT_THERMAL) = LVT(APIC_LVT_MODE, APIC_LVT_PENDING),
    AT(APIC_LVT_PERF) = LVT(APIC_LVT_MODE, APIC_LVT_PENDING),
    AT(APIC_LVT_LINT0) = LINT,
    AT(APIC_LVT_LINT1) = LINT,
    AT(APIC_LVT_ERROR) = LVT(0, APIC_LVT_PENDING),
    AT(APIC_TMICT) = {RW, RW, UINT32_MAX, 0},
    AT(APIC_TMCCT) = {R, R, 0, 0},
    AT(APIC_TDCR) = {RW, RW, APIC_TDCR_LOW | APIC_TDCR_HIGH, 0},
    AT(APIC_SELF_IPI) = {0, W, APIC_ICR_VECTOR, 0},
};

static uint32_t read_register(const struct vlapic *a, uint32_t offset, uint64_t now)
{
    switch (offset) {
    case APIC_ID:
        return x2apic_mode(a) ? a->id : a->id << APIC_XAPIC_ID_SHIFT;
    case APIC_VERSION:
        return VERSION;
    case APIC_TPR:
        return a->tpr;
    case APIC_APR:
        return vlapic_apr(a);
    case APIC_PPR:
        return vlapic_ppr(a);
    case APIC_LDR:
        return vlapic_ldr(a);
    case APIC_DFR:
        return a->dfr;
    case APIC_SVR:
        return a->svr;
    case APIC_ISR ... APIC_ISR + 7 * APIC_REGISTER_STEP:
        return a->isr[(offset - APIC_ISR) / APIC_REGISTER_STEP];
    case APIC_TMR ... APIC_TMR + 7 * APIC_REGISTER_STEP:
        return a->tmr[(offset - APIC_TMR) / APIC_REGISTER_STEP];
    case APIC_IRR ... APIC_IRR + 7 * APIC_REGISTER_STEP:
        return a->irr[(offset - APIC_IRR) / APIC_REGISTER_STEP];
    case APIC_ESR:
        return a->esr;
    case APIC_ICR_LOW:
        return (uint32_t)a->icr;
    case APIC_ICR_HIGH:
        return (uint32_t)(a->icr >> APIC_ICR_HIGH_SHIFT);
    case APIC_LVT_TIMER ... APIC_LVT_ERROR:
        return a->lvt[(offset - APIC_LVT_TIMER) / APIC_REGISTER_STEP];
    case APIC_TMICT:
        return a->timer_initial;
    case APIC_TMCCT:
        return vlapic_timer_count(a, now);
    case APIC_TDCR:
        return a->timer_divide;
    default: /* remote read: not supported */
        return 0;
    }
}

static void set_svr(struct vlapic *a, uint32_t value)
{
    a->svr = value;
    for (unsigned int i = 0; !(value & APIC_SVR_ENABLE) && i < VLAPIC_LVTS; i++) {
        a->lvt[i] |= APIC_LVT_MASKED;
    }
}

static void set_lvt(struct vlapic *a, unsigned int which, uint32_t value)
{
    if (!(a->svr & APIC_SVR_ENABLE)) {
        value |= APIC_LVT_MASKED;
    }
    if (which == LVT_TIMER) {
        vlapic_timer_set_lvt(a, value);
    } else {
        a->lvt[which] = value;
    }
}

static void set_icr(struct vlapic *a, const struct vlapic_bus *bus, void *domain, uint32_t high,
                    uint32_t low)
{
    a->icr = (uint64_t)high << APIC_ICR_HIGH_SHIFT | low;
    vlapic_send_icr(a, bus, domain);
}

/* value: writable bits only */
static void write_register(struct vlapic *a, const struct vlapic_bus *bus, void *domain,
                           uint32_t offset, uint32_t value, uint64_t now)
{
    switch (offset) {
    case APIC_TPR:
        a->tpr = value;
        break;
    case APIC_EOI:
        vlapic_end_of_interrupt(a, bus, domain);
        break;
    case APIC_LDR:
        a->ldr = value;
        break;
    case APIC_DFR:
        a->dfr = value | ~APIC_DFR_MODEL;
        break;
    case APIC_SVR:
        set_svr(a, value);
        break;
    case APIC_ESR:
        a->esr = a->esr_pending;
        a->esr_pending = 0;
        break;
    case APIC_ICR_LOW:
        set_icr(a, bus, domain, (uint32_t)(a->icr >> APIC_ICR_HIGH_SHIFT), value);
        break;
    case APIC_ICR_HIGH:
        a->icr = (uint64_t)value << APIC_ICR_HIGH_SHIFT | (uint32_t)a->icr;
        break;
    case APIC_LVT_TIMER ... APIC_LVT_ERROR:
        set_lvt(a, (offset - APIC_LVT_TIMER) / APIC_REGISTER_STEP, value);
        break;
    case APIC_TMICT:
        vlapic_timer_set_initial(a, value, now);
        break;
    case APIC_TDCR:
        vlapic_timer_set_divide(a, value, now);
        break;
    case APIC_SELF_IPI:
        vlapic_send_self(a, bus, domain, (uint8_t)value);
        break;
    default:
        break;
    }
}

/* ---- xAPIC mode: memory ---------------------------------------------------------------------- */

/* What the access may do there; a reserved register is an error of the guest. */
static uint8_t mmio_access(struct vlapic *a, uint32_t offset)
{
    if (offset >= PAGE_SIZE || offset % APIC_REGISTER_STEP != 0) {
        return 0;
    }
    offset /= APIC_REGISTER_STEP;
    if (offset >= REGISTERS || rules[offset].xapic == 0) {
        vlapic_error(a, APIC_ESR_REGISTER_ILLEGAL);
        return 0;
    }
    return rules[offset].xapic;
}

uint32_t vlapic_mmio_read(struct vlapic *a, uint32_t offset, uint64_t now)
{
    if (!hardware_enabled(a) || x2apic_mode(a)) {
        return UINT32_MAX;
    }
    vlapic_timer_tick(a, now);
    return (mmio_access(a, offset) & R) ? read_register(a, offset, now) : 0;
}

void vlapic_mmio_write(struct vlapic *a, const struct vlapic_bus *bus, void *domain,
                       uint32_t offset, uint32_t value, uint64_t now)
{
    if (!hardware_enabled(a) || x2apic_mode(a)) {
        return;
    }
    vlapic_timer_tick(a, now);
    if (mmio_access(a, offset) & W) {
        value &= rules[offset / APIC_REGISTER_STEP].writable;
        write_register(a, bus, domain, offset, value, now);
    }
}

/* ---- x2APIC mode: MSRs ----------------------------------------------------------------------- */

/* NULL for #GP. */
static const struct rule *msr_rule(const struct vlapic *a, uint32_t index, uint8_t access)
{
    uint32_t n = index - MSR_X2APIC_FIRST;

    return x2apic_mode(a) && n < REGISTERS && (rules[n].x2apic & access) ? &rules[n] : NULL;
}

int vlapic_msr_read(struct vlapic *a, uint32_t index, uint64_t *value, uint64_t now)
{
    uint32_t offset = (index - MSR_X2APIC_FIRST) * APIC_REGISTER_STEP;

    vlapic_timer_tick(a, now);
    switch (index) {
    case MSR_APIC_BASE:
        *value = a->apic_base;
        return 0;
    case MSR_TSC_DEADLINE:
        *value = vlapic_timer_deadline(a);
        return 0;
    default:
        break;
    }
    if (msr_rule(a, index, R) == NULL) {
        return -EINVAL;
    }
    *value = offset == APIC_ICR_LOW ? a->icr : read_register(a, offset, now);
    return 0;
}

int vlapic_msr_write(struct vlapic *a, const struct vlapic_bus *bus, void *domain, uint32_t index,
                     uint64_t value, uint64_t now)
{
    uint32_t offset = (index - MSR_X2APIC_FIRST) * APIC_REGISTER_STEP;
    const struct rule *rule;
    uint32_t high = (uint32_t)(value >> 32);
    uint32_t low = (uint32_t)value;

    vlapic_timer_tick(a, now);
    switch (index) {
    case MSR_APIC_BASE:
        return set_base(a, value);
    case MSR_TSC_DEADLINE:
        vlapic_timer_set_deadline(a, value, now);
        return 0;
    default:
        break;
    }
    rule = msr_rule(a, index, W);
    if (rule == NULL || (low & ~(rule->writable | rule->ignored)) ||
        (high != 0 && offset != APIC_ICR_LOW)) {
        return -EINVAL;
    }
    if (offset == APIC_ICR_LOW) {
        set_icr(a, bus, domain, high, low & rule->writable);
    } else {
        write_register(a, bus, domain, offset, low & rule->writable, now);
    }
    return 0;
}
