/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: combination of two exceptions, and what VM entry accepts.
 *
 * SDM volume 3, "Interrupt 8 - Double Fault Exception (#DF)", "Event Injection", and "VM-Entry
 * Controls for Event Injection" with the checks on them in "VM-Entry Control Fields".
 *
 * Host test: tests/host/test_event.c
 */
#include "hv/event.h"

#include "hw/x86.h"

#define EXC_VE 20
#define EXC_CP 21
#define MAX_INSN_LENGTH 15U
#define ERROR_CODE_BITS 0x7fffU /* VM entry refuses others */

/* Classes of the double-fault table. */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static bool is_exception(const struct guest_event *event)
{
    return (event->info & EVENT_VALID) && event_type(event) == EVENT_TYPE_HW_EXCEPTION;
}

/* Interrupts, NMIs and software events are benign whatever their vector. */
static enum fault_class fault_class(const struct guest_event *event)
{
    if (!is_exception(event)) {
        return BENIGN;
    }
    switch (event_vector(event)) {
    case EXC_DE:
    case EXC_TS:
    case EXC_NP:
    case EXC_SS:
    case EXC_GP:
    case EXC_CP:
        return CONTRIBUTORY;
    case EXC_PF:
    case EXC_VE:
        return PAGE_FAULT;
    case EXC_DF:
        return DOUBLE_FAULT;
    default:
        return BENIGN;
    }
}

bool event_combine(const struct guest_event *first, const struct guest_event *next,
                   struct guest_event *out)
{
    enum fault_class a = fault_class(first);
    enum fault_class b = fault_class(next);
    bool serious = b == CONTRIBUTORY || b == PAGE_FAULT;

    if (a == DOUBLE_FAULT && serious) {
        return false;
    }
    if ((a == CONTRIBUTORY && b == CONTRIBUTORY) || (a == PAGE_FAULT && serious)) {
        *out = (struct guest_event){
            .info = EVENT_VALID | EVENT_ERROR_CODE |
                    EVENT_TYPE_HW_EXCEPTION << INTR_INFO_TYPE_SHIFT | EXC_DF,
        };
    } else {
        *out = *next;
    }
    return true;
}

void event_raise(struct guest_entry *entry, const struct guest_event *next)
{
    if (!event_combine(&entry->event, next, &entry->event)) {
        entry->event = (struct guest_event){0};
        entry->shutdown = true;
    }
}

bool event_take(struct guest_entry *entry, bool waiting, bool open, uint32_t info)
{
    if (!waiting || !open || (entry->event.info & EVENT_VALID)) {
        return false;
    }
    entry->event = (struct guest_event){.info = EVENT_VALID | info};
    return true;
}

static bool has_error_code(uint32_t vector)
{
    switch (vector) {
    case EXC_DF:
    case EXC_TS:
    case EXC_NP:
    case EXC_SS:
    case EXC_GP:
    case EXC_PF:
    case EXC_AC:
        return true;
    default:
        return false;
    }
}

bool event_is_software(const struct guest_event *event)
{
    uint32_t type = event_type(event);

    return type == EVENT_TYPE_SW_INT || type == EVENT_TYPE_PRIV_SW ||
           type == EVENT_TYPE_SW_EXCEPTION;
}

struct guest_event event_normal(const struct guest_event *event, bool protected_mode)
{
    struct guest_event normal = {.info = event->info & EVENT_INFO_BITS & ~EVENT_ERROR_CODE};

    if (is_exception(event) && protected_mode && has_error_code(event_vector(event))) {
        normal.info |= EVENT_ERROR_CODE;
        normal.error_code = event->error_code & ERROR_CODE_BITS;
    }
    if (event_is_software(event)) {
        normal.length = event->length;
    }
    return normal;
}

bool event_valid(const struct guest_event *event)
{
    uint32_t vector = event_vector(event);

    if (!(event->info & EVENT_VALID)) {
        return event->info == 0;
    }
    if (event->info & ~EVENT_INFO_BITS) {
        return false;
    }
    switch (event_type(event)) {
    case EVENT_TYPE_EXTINT:
        return true;
    case EVENT_TYPE_NMI:
        return vector == EXC_NMI;
    case EVENT_TYPE_HW_EXCEPTION:
        return vector < EXC_COUNT && vector != EXC_NMI;
    case EVENT_TYPE_SW_INT:
        return event->length >= 1 && event->length <= MAX_INSN_LENGTH;
    case EVENT_TYPE_PRIV_SW:
        return vector == EXC_DB && event->length >= 1 && event->length <= MAX_INSN_LENGTH;
    case EVENT_TYPE_SW_EXCEPTION:
        return (vector == EXC_BP || vector == EXC_OF) && event->length >= 1 &&
               event->length <= MAX_INSN_LENGTH;
    default:
        return false;
    }
}

bool event_is_fault(const struct guest_event *event)
{
    if (!is_exception(event)) {
        return false;
    }
    switch (event_vector(event)) {
    case EXC_DB: /* may be a trap; its cause has set RF already where it was a fault */
    case EXC_DF:
    case EXC_MC:
        return false;
    default:
        return true;
    }
}
