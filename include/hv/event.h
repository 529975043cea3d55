/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events on their way into a guest: which one is delivered when two meet. Pure.
 */
#ifndef HV_EVENT_H
#define HV_EVENT_H

#include "hv/compiler.h"
#include "hv/types.h"
#include "hv/vcpu.h"
#include "hw/vmx.h"

/* The bits that VM-entry, VM-exit and IDT-vectoring information have in common. */
#define EVENT_INFO_BITS                                                             \
    (EVENT_VALID | EVENT_ERROR_CODE | INTR_INFO_TYPE_MASK << INTR_INFO_TYPE_SHIFT | \
     INTR_INFO_VECTOR)

struct guest_event {
    uint32_t info; /* EVENT_*, 0: none */
    uint32_t error_code;
    uint32_t length; /* of the instruction, for software events */
};

static inline uint32_t event_type(const struct guest_event *event)
{
    return event->info >> INTR_INFO_TYPE_SHIFT & INTR_INFO_TYPE_MASK;
}

static inline uint32_t event_vector(const struct guest_event *event)
{
    return event->info & INTR_INFO_VECTOR;
}

/* What the next entry of a vCPU delivers: injected, or interrupted by the exit before. */
struct guest_entry {
    LAYOUT(struct guest_event event;, bool shutdown; /* a triple fault is due instead */)
};

/* Another event while one may be under way: the two as the CPU would combine them. */
void event_raise(struct guest_entry *entry, const struct guest_event *next);

/* An interrupt or NMI (type and vector) that waits, or not, and a guest that takes one (open), or
 * not now. True: it is the entry's event. */
bool event_take(struct guest_entry *entry, bool waiting, bool open, uint32_t info);

/* The event to deliver when `next` comes up while `first` is under way. False: the two are a
 * triple fault. */
bool event_combine(const struct guest_event *first, const struct guest_event *next,
                   struct guest_event *out);

/* An event with the error-code bit as its vector and the guest's mode (CR0.PE) demand it, and
 * nothing in its unused parts: what VM entry accepts. */
struct guest_event event_normal(const struct guest_event *event, bool protected_mode);

/* True for an event that VM entry can take from a stream: type, vector and length fit together. */
bool event_valid(const struct guest_event *event);

/* True for INT n, INT1, INT3, INTO: by an instruction whose length it has. */
bool event_is_software(const struct guest_event *event);

/* True for exceptions that restart the instruction, whose handler must see RFLAGS.RF = 1. */
bool event_is_fault(const struct guest_event *event);

#endif
