/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APICs of the host. molt takes no interrupts of devices: all pins are masked, and one may be
 * opened to watch an update (watchdog.c).
 *
 * 82093AA I/O APIC datasheet, "I/O Redirection Table Registers".
 */
#include "asm/machine.h"
#include "hw/apic.h"

static volatile uint32_t *register_at(volatile uint8_t *ioapic, uint32_t index)
{
    *(volatile uint32_t *)(ioapic + IOAPIC_SELECT) = index;
    return (volatile uint32_t *)(ioapic + IOAPIC_WINDOW);
}

volatile uint8_t *ioapic_map(paddr_t pa)
{
    uint8_t *page = map_registers(pa);

    return page != NULL ? page + pa % PAGE_SIZE : NULL;
}

unsigned int ioapic_pins(volatile uint8_t *ioapic)
{
    uint32_t last = *register_at(ioapic, IOAPIC_VERSION) >> IOAPIC_VERSION_MAX_PIN_SHIFT;

    return MIN((last & UINT8_MAX) + 1, IOAPIC_PINS_MAX);
}

void ioapic_write_pin(volatile uint8_t *ioapic, unsigned int pin, uint64_t entry)
{
    uint32_t low = IOAPIC_REDIRECTION + 2 * pin;

    /* Masked while the halves do not fit together. */
    *register_at(ioapic, low) = (uint32_t)IOAPIC_RTE_MASKED;
    *register_at(ioapic, low + 1) = (uint32_t)(entry >> 32);
    *register_at(ioapic, low) = (uint32_t)entry;
}

bool ioapic_mask_all(paddr_t pa)
{
    volatile uint8_t *ioapic = ioapic_map(pa);
    unsigned int pins;

    if (ioapic == NULL) {
        return false;
    }
    pins = ioapic_pins(ioapic);
    for (uint32_t pin = 0; pin < pins; pin++) {
        uint32_t low = *register_at(ioapic, IOAPIC_REDIRECTION + 2 * pin);

        if ((low & IOAPIC_RTE_MODE) >> IOAPIC_RTE_MODE_SHIFT != APIC_MODE_SMI) {
            *register_at(ioapic, IOAPIC_REDIRECTION + 2 * pin) = low | (uint32_t)IOAPIC_RTE_MASKED;
        }
    }
    return true;
}
