/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O of guests: COM1, the exit code at 0xf4, ACPI's ports, for the control domain the door to
 * the hypercalls; nothing else. IN, OUT and the string forms.
 */
#include "hv/pio.h"

#include "hv/acpi.h"
#include "hv/domain.h"
#include "hv/exit.h"
#include "hv/guest_walk.h"
#include "hv/printk.h"
#include "hv/sched.h"
#include "hv/vuart.h"
#include "hw/ports.h"
#include "hw/x86.h"
#include "public/hypercall.h"

#define STRING_BATCH 64 /* elements for one exit; the instruction then simply exits again */

enum outcome {
    DONE,
    AGAIN, /* the device cannot take it now: the guest executes the instruction again */
};

static uint64_t size_mask(unsigned int bytes)
{
    return bytes >= 8 ? ~UINT64_C(0) : BIT(bytes * 8) - 1;
}

static bool is_vuart(uint16_t port)
{
    return port >= VUART_PORT && port < VUART_PORT + VUART_PORTS;
}

static uint64_t port_read(struct domain *d, uint16_t port, unsigned int size)
{
    uint64_t floating = size_mask(size); /* nothing there reads as ones */

    uint32_t acpi;

    if (acpi_port_read(port, size, &acpi)) {
        return acpi;
    }
    if (is_vuart(port)) { /* an 8-bit device: one byte answers */
        return (floating & ~UINT64_C(0xff)) | vuart_read(d, port - VUART_PORT);
    }
    return floating;
}

/* Both end the domain, for good and without a fault; the operator sees which it was. */
static void end_by_acpi(struct domain *d, const char *how)
{
    bool first = d->state == DOMAIN_RUNNING;

    domain_exit(d, 0);
    if (first) {
        printk("domain %s %s", d->name, how);
    }
}

static enum outcome port_write(struct vcpu *v, uint16_t port, unsigned int size, uint64_t value)
{
    struct domain *d = v->domain;

    if (is_vuart(port)) {
        if (vuart_write(d, port - VUART_PORT, (uint8_t)value)) {
            return DONE;
        }
        sched_give_way(v); /* others may have something to do until then */
        return AGAIN;
    }
    switch (acpi_port_write(port, size, (uint32_t)value)) {
    case ACPI_RESET:
        end_by_acpi(d, "rebooted: it does not start again");
        return DONE;
    case ACPI_POWER_OFF:
        end_by_acpi(d, "powered off");
        return DONE;
    default:
        break;
    }
    if (port == DEBUG_EXIT_PORT) {
        domain_exit(d, (uint32_t)(value & size_mask(size)));
    }
    return DONE;
}

static void merge(uint64_t *reg, uint64_t value, unsigned int bytes)
{
    uint64_t mask = size_mask(bytes);

    /* 32-bit results clear the upper half, smaller ones leave it. */
    *reg = bytes == 4 ? value & mask : (*reg & ~mask) | (value & mask);
}

static bool is_door(const struct domain *d, const struct hvm_exit *exit)
{
    return d->control && exit->io.in && exit->io.size == 4 && exit->io.port == HC_DOOR_PORT;
}

static void plain(struct vcpu *v, const struct hvm_exit *exit)
{
    if (is_door(v->domain, exit)) {
        if (!hypercall_door(v, exit)) {
            return;
        }
    } else if (exit->io.in) {
        merge(&v->gpr[GPR_RAX], port_read(v->domain, exit->io.port, exit->io.size), exit->io.size);
    } else if (port_write(v, exit->io.port, exit->io.size, v->gpr[GPR_RAX]) == AGAIN) {
        return;
    }
    hvm->skip(v, exit->insn_length);
}

/* One element of INS or OUTS. 0; -1 when it is to be tried again or has raised a fault. */
static int element(struct vcpu *v, const struct hvm_exit *exit, uint64_t linear)
{
    struct guest_span span;
    uint64_t value = 0;

    /* Before the device is asked: what it gives is gone, so the store must not fault after that. */
    if (guest_span_find(v, linear, exit->io.in ? GUEST_WRITE : GUEST_READ, exit->cpl == 3,
                        exit->io.size, &span) != 0) {
        return -1;
    }
    if (exit->io.in) {
        value = port_read(v->domain, exit->io.port, exit->io.size);
        return guest_span_write(v, &span, &value) == 0 ? 0 : -1;
    }
    if (guest_span_read(v, &span, &value) != 0) {
        return -1;
    }
    return port_write(v, exit->io.port, exit->io.size, value) == DONE ? 0 : -1;
}

static void string(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t *index = &v->gpr[exit->io.in ? GPR_RDI : GPR_RSI];
    uint64_t *count = &v->gpr[GPR_RCX];
    uint64_t mask = size_mask(exit->io.address_size);
    uint64_t base = exit->io.linear - (*index & mask); /* of the segment */
    bool down = hvm->reg_get(v, HVM_REG_RFLAGS) & RFLAGS_DF;
    uint64_t step = down ? -(uint64_t)exit->io.size : exit->io.size;

    for (int i = 0; i < STRING_BATCH && v->domain->state == DOMAIN_RUNNING; i++) {
        uint64_t linear = base + (*index & mask);

        if (exit->io.rep && (*count & mask) == 0) {
            break;
        }
        if (element(v, exit, exit->code64 ? linear : (uint32_t)linear) != 0) {
            return; /* registers stand at the element that is not done */
        }
        merge(index, *index + step, exit->io.address_size);
        if (!exit->io.rep) {
            break;
        }
        merge(count, *count - 1, exit->io.address_size);
    }
    if (!exit->io.rep || (*count & mask) == 0) {
        hvm->skip(v, exit->insn_length);
    }
}

void pio_handle(struct vcpu *v, const struct hvm_exit *exit)
{
    if (exit->io.string) {
        string(v, exit);
    } else {
        plain(v, exit);
    }
}
