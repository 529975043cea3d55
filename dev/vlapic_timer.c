/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APIC of a vCPU: timer.
 *
 * Nothing runs: the count follows from the TSC at which it began, and vlapic_timer_tick() catches
 * up with the clock before anything looks. TSC differences are taken modulo 2^64.
 * SDM volume 3, "APIC Timer", "TSC-Deadline Mode". Host test: tests/host/test_vlapic.c
 * Invariant: timer_start is VLAPIC_NO_DEADLINE whenever the count stands at 0.
 */
#include "vlapic_priv.h"

#define STOPPED VLAPIC_NO_DEADLINE

static uint32_t mode(const struct vlapic *a)
{
    return a->lvt[LVT_TIMER] & APIC_LVT_TIMER_MODE;
}

static bool counts(uint32_t timer_mode)
{
    return timer_mode == APIC_TIMER_ONE_SHOT || timer_mode == APIC_TIMER_PERIODIC;
}

static bool counting(const struct vlapic *a)
{
    return counts(mode(a)) && a->timer_initial != 0 && a->timer_start != STOPPED;
}

/* Guest TSC cycles of one count. Divide: bits 3, 1, 0 are 0 to 6 for 2 to 128, 7 for 1. */
static uint64_t count_cycles(const struct vlapic *a)
{
    unsigned int code = (a->timer_divide & APIC_TDCR_HIGH) >> 1 | (a->timer_divide & APIC_TDCR_LOW);

    return (uint64_t)MAX(a->tsc_per_tick, 1U) << ((code + 1) & 7);
}

/* Counts since the start; below timer_initial, or the timer is due. None when `now` was read before
 * the timer was started. */
static uint64_t counts_since(const struct vlapic *a, uint64_t now)
{
    uint64_t cycles = now - a->timer_start;

    return (int64_t)cycles > 0 ? cycles / count_cycles(a) : 0;
}

static void start_at(struct vlapic *a, uint64_t start)
{
    a->timer_start = start != STOPPED ? start : start - 1;
}

static void disarm(struct vlapic *a)
{
    a->timer_initial = 0;
    a->timer_start = STOPPED;
    a->tsc_deadline = 0;
}

void vlapic_timer_reset(struct vlapic *a)
{
    disarm(a);
    a->timer_divide = 0;
}

static bool is_due(const struct vlapic *a, uint64_t now)
{
    if (mode(a) == APIC_TIMER_DEADLINE) {
        return a->tsc_deadline != 0 && now >= a->tsc_deadline;
    }
    return counting(a) && counts_since(a, now) >= a->timer_initial;
}

void vlapic_timer_tick(struct vlapic *a, uint64_t now)
{
    if (!is_due(a, now)) {
        return;
    }
    if (mode(a) == APIC_TIMER_DEADLINE) {
        a->tsc_deadline = 0;
    } else if (mode(a) == APIC_TIMER_ONE_SHOT) {
        a->timer_start = STOPPED;
    } else {
        uint64_t periods = counts_since(a, now) / a->timer_initial;

        start_at(a, a->timer_start + periods * a->timer_initial * count_cycles(a));
    }
    if (!(a->lvt[LVT_TIMER] & APIC_LVT_MASKED)) {
        (void)vlapic_accept(a, (uint8_t)a->lvt[LVT_TIMER], false);
    }
}

uint64_t vlapic_timer_next(const struct vlapic *a)
{
    uint64_t period;

    if (a->lvt[LVT_TIMER] & APIC_LVT_MASKED) {
        return VLAPIC_NO_DEADLINE;
    }
    if (mode(a) == APIC_TIMER_DEADLINE && a->tsc_deadline != 0) {
        return a->tsc_deadline;
    }
    if (!counting(a) || __builtin_mul_overflow(a->timer_initial, count_cycles(a), &period)) {
        return VLAPIC_NO_DEADLINE;
    }
    return a->timer_start + period;
}

void vlapic_tsc_moved(struct vlapic *a, uint64_t delta)
{
    if (a->timer_start != STOPPED) {
        start_at(a, a->timer_start + delta);
    }
}

/* Between one-shot and periodic the count goes on, at 0 it stays there; any other change of the
 * mode disarms the timer. */
void vlapic_timer_set_lvt(struct vlapic *a, uint32_t lvt)
{
    uint32_t old = mode(a);

    a->lvt[LVT_TIMER] = lvt;
    if (mode(a) != old && !(counts(old) && counts(mode(a)))) {
        disarm(a);
    }
}

void vlapic_timer_set_initial(struct vlapic *a, uint32_t count, uint64_t now)
{
    if (!counts(mode(a))) {
        return;
    }
    a->timer_initial = count;
    if (count != 0) {
        start_at(a, now);
    } else {
        a->timer_start = STOPPED;
    }
}

/* The count goes on from where it is, at the new speed. */
void vlapic_timer_set_divide(struct vlapic *a, uint32_t divide, uint64_t now)
{
    uint64_t done = counting(a) ? counts_since(a, now) : 0;

    if (divide == a->timer_divide) {
        return;
    }
    a->timer_divide = divide;
    if (counting(a)) {
        start_at(a, now - done * count_cycles(a));
    }
}

uint32_t vlapic_timer_count(const struct vlapic *a, uint64_t now)
{
    return counting(a) ? (uint32_t)(a->timer_initial - counts_since(a, now)) : 0;
}

uint64_t vlapic_timer_deadline(const struct vlapic *a)
{
    return mode(a) == APIC_TIMER_DEADLINE ? a->tsc_deadline : 0;
}

/* A deadline in the past fires at once. */
void vlapic_timer_set_deadline(struct vlapic *a, uint64_t deadline, uint64_t now)
{
    if (mode(a) == APIC_TIMER_DEADLINE) {
        a->tsc_deadline = deadline;
        vlapic_timer_tick(a, now);
    }
}
