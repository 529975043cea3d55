/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables. ACPI specification 6.0, "ACPI Software Programming Model" and "ACPI Hardware
 * Specification": the parts that a hardware-reduced machine needs.
 */
#ifndef HW_ACPI_H
#define HW_ACPI_H

#include <stdint.h>

#define ACPI_RSDP_SIGNATURE "RSD PTR "
#define ACPI_RSDP_REVISION 2U
#define ACPI_RSDP_V1_BYTES 20U /* what the first checksum covers */
#define ACPI_RSDP_V2 2U        /* the first one with an XSDT */
#define ACPI_XSDT_REVISION 1U
#define ACPI_FADT_REVISION 6U
#define ACPI_MADT_REVISION 4U
#define ACPI_DSDT_REVISION 2U /* 64-bit integers */

/* Generic Address Structure */
#define ACPI_SPACE_IO 1U
#define ACPI_ACCESS_BYTE 1U

/* FADT */
#define ACPI_PROFILE_ENTERPRISE_SERVER 4U
#define ACPI_IAPC_NO_VGA 0x0004U
#define ACPI_IAPC_NO_CMOS_RTC 0x0020U
#define ACPI_FADT_WBINVD 0x00000001U
#define ACPI_FADT_NO_POWER_BUTTON 0x00000010U /* no fixed one */
#define ACPI_FADT_NO_SLEEP_BUTTON 0x00000020U
#define ACPI_FADT_RESET_REG 0x00000400U
#define ACPI_FADT_HW_REDUCED 0x00100000U

/* Sleep control and status registers */
#define ACPI_SLEEP_TYPE_SHIFT 2U
#define ACPI_SLEEP_TYPE_MASK 0x7U
#define ACPI_SLEEP_ENABLE 0x20U
#define ACPI_WAKE_STATUS 0x80U

/* MADT */
#define ACPI_MADT_LAPIC 0U
#define ACPI_MADT_IOAPIC 1U
#define ACPI_MADT_OVERRIDE 2U
#define ACPI_MADT_X2APIC 9U
#define ACPI_MADT_ENABLED 1U
#define ACPI_MADT_BUS_ISA 0U
/* MPS INTI flags; what "conforms" (0) is edge, active high on the ISA bus */
#define ACPI_MADT_POLARITY 0x3U
#define ACPI_MADT_ACTIVE_LOW 0x3U
#define ACPI_MADT_TRIGGER 0xcU
#define ACPI_MADT_LEVEL 0xcU

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum; /* of the first ACPI_RSDP_V1_BYTES */
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum; /* of all */
    uint8_t reserved[3];
} __attribute__((packed));

struct acpi_header {
    char signature[4];
    uint32_t length; /* of the whole table */
    uint8_t revision;
    uint8_t checksum;
    char oem_id[6];
    char oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} __attribute__((packed));

struct acpi_gas {
    uint8_t space;
    uint8_t bits;
    uint8_t bit_offset;
    uint8_t access;
    uint64_t address;
} __attribute__((packed));

struct acpi_fadt {
    struct acpi_header header;
    uint32_t firmware_ctrl;
    uint32_t dsdt;
    uint8_t reserved0;
    uint8_t profile;
    uint8_t fixed_hardware[63]; /* SCI_INT to CENTURY: none of it when hardware-reduced */
    uint16_t iapc_boot_arch;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_gas reset_reg;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor_version;
    uint64_t x_firmware_ctrl;
    uint64_t x_dsdt;
    struct acpi_gas x_fixed_hardware[8]; /* X_PM1a_EVT_BLK to X_GPE1_BLK */
    struct acpi_gas sleep_control;
    struct acpi_gas sleep_status;
    char hypervisor[8];
} __attribute__((packed));

struct acpi_madt {
    struct acpi_header header;
    uint32_t lapic_address;
    uint32_t flags; /* bit 0: two 8259s */
} __attribute__((packed));

struct acpi_madt_lapic {
    uint8_t type;
    uint8_t length;
    uint8_t uid;
    uint8_t apic_id;
    uint32_t flags;
} __attribute__((packed));

struct acpi_madt_x2apic {
    uint8_t type;
    uint8_t length;
    uint16_t reserved;
    uint32_t apic_id;
    uint32_t flags;
    uint32_t uid;
} __attribute__((packed));

struct acpi_madt_ioapic {
    uint8_t type;
    uint8_t length;
    uint8_t id;
    uint8_t reserved;
    uint32_t address;
    uint32_t gsi_base;
} __attribute__((packed));

struct acpi_madt_override {
    uint8_t type;
    uint8_t length;
    uint8_t bus;
    uint8_t irq;
    uint32_t gsi;
    uint16_t flags;
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
_Static_assert(sizeof(struct acpi_header) == 36, "table header");
_Static_assert(sizeof(struct acpi_gas) == 12, "GAS");
_Static_assert(__builtin_offsetof(struct acpi_fadt, iapc_boot_arch) == 109, "IAPC_BOOT_ARCH");
_Static_assert(__builtin_offsetof(struct acpi_fadt, reset_reg) == 116, "RESET_REG");
_Static_assert(__builtin_offsetof(struct acpi_fadt, x_dsdt) == 140, "X_DSDT");
_Static_assert(__builtin_offsetof(struct acpi_fadt, sleep_control) == 244, "SLEEP_CONTROL_REG");
_Static_assert(sizeof(struct acpi_fadt) == 276, "FADT");
_Static_assert(sizeof(struct acpi_madt) == 44, "MADT");
_Static_assert(sizeof(struct acpi_madt_lapic) == 8, "MADT local APIC");
_Static_assert(sizeof(struct acpi_madt_x2apic) == 16, "MADT local x2APIC");
_Static_assert(sizeof(struct acpi_madt_ioapic) == 12, "MADT I/O APIC");
_Static_assert(sizeof(struct acpi_madt_override) == 10, "MADT interrupt source override");

#endif
