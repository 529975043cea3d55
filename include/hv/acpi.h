/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables of a guest: a hardware-reduced machine with local APICs, one I/O APIC and COM1.
 */
#ifndef HV_ACPI_H
#define HV_ACPI_H

#include "hv/compiler.h"
#include "hv/types.h"

/* Where the tables stand, the RSDP first: in the part of the BIOS area that is searched for it, so
 * the guest's memory map has to call it reserved. */
#define ACPI_TABLES_GPA 0xe0000UL
#define ACPI_TABLES_ROOM KIB(8)
#define ACPI_VCPUS_MAX 255U /* APIC ids 0 to 254 */

/* Ports, all of one byte. ACPI specification, "Reset Register", "Sleep Control and Status
 * Registers". */
#define ACPI_PORT_RESET 0xcf9U /* where PCI chipsets have it, which guests without ACPI try too */
#define ACPI_PORT_SLEEP_CONTROL 0x600U
#define ACPI_PORT_SLEEP_STATUS 0x601U
#define ACPI_RESET_VALUE 0x06U
#define ACPI_RESET_CPU 0x04U /* the bit of it that resets */
#define ACPI_S5_TYPE 5U      /* SLP_TYP of \_S5 */

/*
 * Builds all tables for `vcpus` (1 to ACPI_VCPUS_MAX, APIC id = number) as they look at
 * guest-physical gpa, below 4 GiB and 16-byte aligned. Returns the bytes used, or -EINVAL, or
 * -ENOSPC (ACPI_TABLES_ROOM is always enough). Pure.
 */
MUST_CHECK int acpi_build(uint8_t *buf, size_t size, uint64_t gpa, unsigned int vcpus);

/* What a guest asks for by writing one of the ports. */
enum acpi_request {
    ACPI_NOT_OURS,  /* the port is another device's */
    ACPI_NOTHING,   /* ours, without effect */
    ACPI_RESET,     /* start again as after power-on */
    ACPI_POWER_OFF, /* \_S5 */
};

enum acpi_request acpi_port_write(uint16_t port, unsigned int size, uint32_t value);
/* True when the port is ours; *value is what it reads as. */
bool acpi_port_read(uint16_t port, unsigned int size, uint32_t *value);

#endif
