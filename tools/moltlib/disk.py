# SPDX-License-Identifier: Apache-2.0
"""Hard disks that put bytes into Bochs's memory and start what is there: tools/disk/boot.asm.

GRUB spends 14 instructions on each byte, and 50 million before the first.
"""

import os
import struct
from dataclasses import dataclass

from moltlib.emulator import BOCHS_HEADS, BOCHS_PER_TRACK
from moltlib.options import BUILD, UsageError

BOOT_BIN = os.path.join(BUILD, "disk-boot.bin")
SECTOR = 512
# What Bochs's BIOS leaves as RAM; its ACPI tables are above.
LOW_END = 0x9F000
ACPI_BYTES = 64 << 10

_CODE_BYTES = 256  # TABLE_AT of boot.asm
_SECTORS_MAX = 0xFFFF  # that one command reads
_TABLE = struct.Struct("<IIII")


@dataclass
class Start:
    """What is entered, and with what: physical addresses."""

    entry: int
    information: int  # EBX
    magic: int = 0  # EAX
    rsdp: int = 0  # where ACPI's RSDP shall be copied to; 0: nowhere


def up(value, to):
    return -(-value // to) * to


def _piece(lba, sectors, address):
    low, high = sectors.to_bytes(2, "little")
    where = lba.to_bytes(6, "little")
    return struct.pack("<II", sectors, address) + bytes([high, *where[3:], low, *where[:3]])


def write(path, start, contents):
    """Writes the disk; returns how many cylinders it has. contents: (address, bytes) each."""
    try:
        with open(BOOT_BIN, "rb") as file:
            boot = file.read()
    except FileNotFoundError:
        raise UsageError(f"not found: {BOOT_BIN}\n`make` builds it") from None
    table = _TABLE.pack(start.information, start.entry, start.magic, start.rsdp)
    lba = 1
    for address, data in contents:
        left = up(len(data), SECTOR) // SECTOR
        while left:
            sectors = min(left, _SECTORS_MAX)
            table += _piece(lba, sectors, address)
            lba, address, left = lba + sectors, address + sectors * SECTOR, left - sectors
    sector = (boot[:_CODE_BYTES] + table).ljust(SECTOR - 2, b"\0") + b"\x55\xaa"
    if len(sector) != SECTOR:
        raise ValueError("too many pieces for a boot sector")
    cylinder = BOCHS_HEADS * BOCHS_PER_TRACK
    cylinders = -(-lba // cylinder)
    with open(path, "wb") as file:
        file.write(sector)
        for _, data in contents:
            file.write(data + bytes(-len(data) % SECTOR))
        file.truncate(cylinders * cylinder * SECTOR)
    return cylinders
