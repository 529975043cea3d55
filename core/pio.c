/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O of guests: COM1, the exit code at 0xf4, nothing else.
 */
#include "hv/pio.h"

#include "hv/domain.h"
#include "hv/vuart.h"
#include "hw/ports.h"

static uint64_t size_mask(uint8_t size)
{
    return size >= 8 ? ~UINT64_C(0) : BIT(size * 8) - 1;
}

static bool is_vuart(uint16_t port)
{
    return port >= VUART_PORT && port < VUART_PORT + VUART_PORTS;
}

static void port_read(struct vcpu *v, const struct hvm_exit *exit)
{
    uint64_t mask = size_mask(exit->io.size);
    uint64_t value = mask; /* nothing there */

    if (is_vuart(exit->io.port)) { /* an 8-bit device: the first byte answers, the bus floats */
        value = (mask & ~UINT64_C(0xff)) |
                vuart_read(v->domain, exit->io.port - VUART_PORT);
    }
    if (exit->io.size == 4) {
        v->gpr[GPR_RAX] = value; /* 32-bit results clear the upper half */
    } else {
        v->gpr[GPR_RAX] = (v->gpr[GPR_RAX] & ~mask) | value;
    }
}

void pio_handle(struct vcpu *v, const struct hvm_exit *exit)
{
    if (exit->io.string) {
        domain_stop(v->domain, "string I/O at port 0x%x is not supported", exit->io.port);
        return;
    }
    if (exit->io.in) {
        port_read(v, exit);
    } else if (is_vuart(exit->io.port)) {
        if (!vuart_write(v->domain, exit->io.port - VUART_PORT, (uint8_t)v->gpr[GPR_RAX])) {
            return; /* the console is full: the guest executes the OUT again */
        }
    } else if (exit->io.port == DEBUG_EXIT_PORT) {
        hvm->skip(v, exit->insn_length);
        domain_exit(v->domain, (uint32_t)(v->gpr[GPR_RAX] & size_mask(exit->io.size)));
        return;
    }
    hvm->skip(v, exit->insn_length);
}
