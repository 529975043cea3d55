/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events on their way into a guest: which one is delivered when two meet. Pure.
 */
#ifndef VMX_EVENT_H
#define VMX_EVENT_H

#include "hv/types.h"
#include "hv/vcpu.h"
#include "hw/vmx.h"

/* The bits that VM-entry, VM-exit and IDT-vectoring information have in common. */
#define EVENT_INFO_BITS                                                             \
    (EVENT_VALID | EVENT_ERROR_CODE | INTR_INFO_TYPE_MASK << INTR_INFO_TYPE_SHIFT | \
     INTR_INFO_VECTOR)

struct vmx_event {
    uint32_t info; /* EVENT_*, 0: none */
    uint32_t error_code;
    uint32_t length; /* of the instruction, for software events */
};

static inline uint32_t event_type(const struct vmx_event *event)
{
    return event->info >> INTR_INFO_TYPE_SHIFT & INTR_INFO_TYPE_MASK;
}

static inline uint32_t event_vector(const struct vmx_event *event)
{
    return event->info & INTR_INFO_VECTOR;
}

/* The event to deliver when `next` comes up while `first` is under way. False: the two are a
 * triple fault. */
bool vmx_event_combine(const struct vmx_event *first, const struct vmx_event *next,
                       struct vmx_event *out);

/* An event with the error-code bit as its vector and the guest's mode (CR0.PE) demand it, and
 * nothing in its unused parts: what VM entry accepts. */
struct vmx_event vmx_event_normal(const struct vmx_event *event, bool protected_mode);

/* True for an event that VM entry can take from a stream: type, vector and length fit together. */
bool vmx_event_valid(const struct vmx_event *event);

/* True for exceptions that restart the instruction, whose handler must see RFLAGS.RF = 1. */
bool vmx_event_is_fault(const struct vmx_event *event);

#endif
