/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC of a vCPU: priorities, acceptance of interrupts, messages between APICs, errors.
 *
 * SDM volume 3, "Interrupt, Task, and Processor Priority", "Interrupt Acceptance for Fixed
 * Interrupts", "Determining IPI Destination", "Error Handling". Host test: tests/host/test_vlapic.c
 */
#include "vlapic_priv.h"

#define MAP_WORDS 8

static void map_set(uint32_t map[MAP_WORDS], uint8_t vector)
{
    map[vector / 32] |= 1U << vector % 32;
}

static void map_clear(uint32_t map[MAP_WORDS], uint8_t vector)
{
    map[vector / 32] &= ~(1U << vector % 32);
}

static bool map_test(const uint32_t map[MAP_WORDS], uint8_t vector)
{
    return map[vector / 32] >> vector % 32 & 1;
}

/* -1 when the map is empty. */
static int map_highest(const uint32_t map[MAP_WORDS])
{
    for (int i = MAP_WORDS - 1; i >= 0; i--) {
        if (map[i] != 0) {
            return i * 32 + 31 - __builtin_clz(map[i]);
        }
    }
    return -1;
}

static uint32_t highest_or_0(const uint32_t map[MAP_WORDS])
{
    return (uint32_t)MAX(map_highest(map), 0);
}

/* ---- Priorities ------------------------------------------------------------------------------ */

uint32_t vlapic_ppr(const struct vlapic *a)
{
    uint32_t tpr = a->tpr & APIC_TPR_MASK;
    uint32_t isr_class = highest_or_0(a->isr) & APIC_PRIORITY_CLASS;

    return (tpr & APIC_PRIORITY_CLASS) >= isr_class ? tpr : isr_class;
}

/* SDM volume 3, "Arbitration Priority Register (APR)" */
uint32_t vlapic_apr(const struct vlapic *a)
{
    uint32_t tpr = a->tpr & APIC_TPR_MASK;
    uint32_t tpr_class = tpr & APIC_PRIORITY_CLASS;
    uint32_t isr_class = highest_or_0(a->isr) & APIC_PRIORITY_CLASS;
    uint32_t irr_class = highest_or_0(a->irr) & APIC_PRIORITY_CLASS;

    if (tpr_class >= irr_class && tpr_class > isr_class) {
        return tpr;
    }
    return MAX(tpr_class & isr_class, irr_class);
}

bool vlapic_enabled(const struct vlapic *a)
{
    return hardware_enabled(a) && (a->svr & APIC_SVR_ENABLE);
}

int vlapic_pending(const struct vlapic *a)
{
    int vector = map_highest(a->irr);

    if (vector < 0 || !vlapic_enabled(a) ||
        ((uint32_t)vector & APIC_PRIORITY_CLASS) <= (vlapic_ppr(a) & APIC_PRIORITY_CLASS)) {
        return -1;
    }
    return vector;
}

void vlapic_take(struct vlapic *a, uint8_t vector)
{
    map_clear(a->irr, vector);
    map_set(a->isr, vector);
}

uint64_t vlapic_cr8(const struct vlapic *a)
{
    return (a->tpr & APIC_TPR_MASK) >> 4;
}

void vlapic_set_cr8(struct vlapic *a, uint64_t cr8)
{
    a->tpr = (uint32_t)(cr8 & 0xf) << 4;
}

/* ---- Acceptance ------------------------------------------------------------------------------ */

void vlapic_error(struct vlapic *a, uint32_t error)
{
    uint32_t lvt = a->lvt[LVT_ERROR];
    bool armed = a->esr_pending == 0;

    a->esr_pending |= error;
    if (armed && !(lvt & APIC_LVT_MASKED)) {
        (void)vlapic_accept(a, (uint8_t)lvt, false); /* its own errors find it disarmed */
    }
}

bool vlapic_accept(struct vlapic *a, uint8_t vector, bool level)
{
    if (!vlapic_enabled(a)) {
        return false;
    }
    if (vector < APIC_VECTOR_MIN) {
        vlapic_error(a, APIC_ESR_RECEIVE_ILLEGAL);
        return false;
    }
    map_set(a->irr, vector);
    if (level) {
        map_set(a->tmr, vector);
    } else {
        map_clear(a->tmr, vector);
    }
    return true;
}

void vlapic_end_of_interrupt(struct vlapic *a, const struct vlapic_bus *bus, void *domain)
{
    int vector = map_highest(a->isr);

    if (vector < 0) {
        return;
    }
    map_clear(a->isr, (uint8_t)vector);
    if (map_test(a->tmr, (uint8_t)vector)) {
        bus->eoi(domain, (uint8_t)vector);
    }
}

/* ---- Messages -------------------------------------------------------------------------------- */

struct message {
    uint32_t shorthand;   /* APIC_ICR_SHORTHAND: 0, or how the sender names the destination */
    uint32_t destination; /* X2APIC_BROADCAST is everybody, in either format */
    bool logical;
    bool level;
    uint8_t mode;
    uint8_t vector;
};

uint32_t vlapic_ldr(const struct vlapic *a)
{
    if (x2apic_mode(a)) {
        return a->id >> 4 << X2APIC_LDR_CLUSTER_SHIFT | 1U << (a->id & 0xf);
    }
    return a->ldr & APIC_LDR_MASK;
}

static bool matches_logical(const struct vlapic *to, uint32_t destination)
{
    uint32_t ldr = vlapic_ldr(to);

    if (x2apic_mode(to)) {
        return destination >> X2APIC_LDR_CLUSTER_SHIFT == ldr >> X2APIC_LDR_CLUSTER_SHIFT &&
               (destination & ldr & X2APIC_LDR_MEMBERS);
    }
    ldr >>= APIC_LDR_SHIFT;
    if (destination > APIC_BROADCAST) {
        return false;
    }
    switch (to->dfr >> APIC_DFR_MODEL_SHIFT) {
    case APIC_DFR_FLAT:
        return destination & ldr;
    case APIC_DFR_CLUSTER:
        return destination >> 4 == ldr >> 4 && (destination & ldr & 0xf);
    default:
        return false;
    }
}

static bool is_addressed(const struct vlapic *to, const struct vlapic *from,
                         const struct message *m)
{
    switch (m->shorthand) {
    case APIC_ICR_TO_SELF:
        return to == from;
    case APIC_ICR_TO_ALL:
        return true;
    case APIC_ICR_TO_OTHERS:
        return to != from;
    default:
        break;
    }
    if (m->destination == X2APIC_BROADCAST) {
        return true;
    }
    return m->logical ? matches_logical(to, m->destination) : to->id == m->destination;
}

/* There is no SMM and no PIC: SMI and ExtINT go nowhere, as reserved modes do. */
static bool hand_over(const struct vlapic_bus *bus, void *domain, unsigned int i, struct vlapic *to,
                      const struct message *m)
{
    bool accepted = true;

    switch (m->mode) {
    case APIC_MODE_FIXED:
    case APIC_MODE_LOWEST:
        accepted = vlapic_accept(to, m->vector, m->level);
        break;
    case APIC_MODE_NMI:
        bus->nmi(domain, i);
        break;
    case APIC_MODE_INIT:
        bus->init(domain, i);
        break;
    case APIC_MODE_SIPI:
        bus->sipi(domain, i, m->vector);
        break;
    default:
        return false;
    }
    bus->kick(domain, i);
    return accepted;
}

/* Lowest priority: is `to` a better target than the best so far? Of several with the same PPR the
 * first from *turn on, so that they take turns. */
static bool is_better(const struct vlapic *to, unsigned int i, const struct vlapic *best,
                      unsigned int best_i, unsigned int turn)
{
    if (!vlapic_enabled(to)) {
        return false;
    }
    if (best == NULL || vlapic_ppr(to) != vlapic_ppr(best)) {
        return best == NULL || vlapic_ppr(to) < vlapic_ppr(best);
    }
    return i >= turn && best_i < turn;
}

/* To all that are addressed; a lowest-priority message to the enabled one with the lowest PPR. A
 * disabled APIC is not on the bus. */
static bool send(const struct vlapic_bus *bus, void *domain, const struct vlapic *from,
                 const struct message *m)
{
    unsigned int *turn = bus->turn(domain);
    struct vlapic *best = NULL;
    struct vlapic *to;
    unsigned int best_i = 0;
    bool accepted = false;

    for (unsigned int i = 0; (to = bus->apic(domain, i)) != NULL; i++) {
        if (!hardware_enabled(to) || !is_addressed(to, from, m)) {
            continue;
        }
        if (m->mode != APIC_MODE_LOWEST) {
            accepted |= hand_over(bus, domain, i, to, m);
        } else if (is_better(to, i, best, best_i, *turn)) {
            best = to;
            best_i = i;
        }
    }
    if (best == NULL) {
        return accepted;
    }
    *turn = best_i + 1;
    return hand_over(bus, domain, best_i, best, m);
}

bool vlapic_deliver(const struct vlapic_bus *bus, void *domain, uint8_t destination, bool logical,
                    uint8_t delivery_mode, uint8_t vector, bool level)
{
    struct message m = {
        .destination = destination != APIC_BROADCAST ? destination : X2APIC_BROADCAST,
        .logical = logical,
        .level = level,
        .mode = delivery_mode,
        .vector = vector,
    };

    return send(bus, domain, NULL, &m);
}

/* IPIs are edges, but for the INIT level de-assert, which today's APICs ignore. */
void vlapic_send_icr(struct vlapic *a, const struct vlapic_bus *bus, void *domain)
{
    uint32_t low = (uint32_t)a->icr;
    uint32_t destination = (uint32_t)(a->icr >> APIC_ICR_HIGH_SHIFT);
    struct message m = {
        .shorthand = low & APIC_ICR_SHORTHAND,
        .logical = low & APIC_ICR_LOGICAL,
        .mode = (uint8_t)((low & APIC_ICR_MODE) >> APIC_ICR_MODE_SHIFT),
        .vector = (uint8_t)low,
    };

    if (!x2apic_mode(a)) {
        destination = (uint32_t)(a->icr >> APIC_ICR_XAPIC_DEST_SHIFT);
        destination = destination != APIC_BROADCAST ? destination : X2APIC_BROADCAST;
    }
    m.destination = destination;
    if (m.mode == APIC_MODE_INIT && (low & APIC_ICR_LEVEL) && !(low & APIC_ICR_ASSERT)) {
        return;
    }
    if (m.mode <= APIC_MODE_LOWEST && m.vector < APIC_VECTOR_MIN) {
        vlapic_error(a, APIC_ESR_SEND_ILLEGAL);
    }
    (void)send(bus, domain, a, &m);
}

void vlapic_send_self(struct vlapic *a, const struct vlapic_bus *bus, void *domain, uint8_t vector)
{
    struct message m = {.shorthand = APIC_ICR_TO_SELF, .mode = APIC_MODE_FIXED, .vector = vector};

    if (vector < APIC_VECTOR_MIN) {
        vlapic_error(a, APIC_ESR_SEND_ILLEGAL);
    }
    (void)send(bus, domain, a, &m);
}
