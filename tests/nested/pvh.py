# SPDX-License-Identifier: Apache-2.0
"""A disk that starts a Linux kernel under Bochs: what is read from it, and where that goes.

The kernel is entered as PVH has it (include/xen/interface/hvm/start_info.h in Linux): in 32-bit
mode without paging, EBX at a structure with command line, memory map and initramfs.
"""

import struct

from moltlib import disk

START_INFO_PA = 0x10000
INITRD_PA = 0x10000000

_PT_LOAD, _PT_NOTE = 1, 4
_NOTE_PHYS32_ENTRY = 18  # of the owner "Xen"
_HEADER = struct.Struct("<IIQQQQQQ")  # of a program: type, flags, offset, va, pa, bytes, ...
_START_INFO = struct.Struct("<IIIIQQQQII")
_START_MAGIC = 0x336EC578
_MODULE = struct.Struct("<QQQQ")
_RANGE = struct.Struct("<QQII")
_RAM = 1


def program_headers(elf):
    (at,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    return [_HEADER.unpack_from(elf, at + i * size) for i in range(count)]


def pvh_entry(elf):
    """Physical address of the PVH entry; ValueError if the kernel has none."""
    for kind, _, offset, _, _, size, _, _ in program_headers(elf):
        end = offset + size
        while kind == _PT_NOTE and offset + 12 <= end:
            name_bytes, bytes_, note = struct.unpack_from("<III", elf, offset)
            name = elf[offset + 12 : offset + 12 + name_bytes]
            value = offset + 12 + disk.up(name_bytes, 4)
            if name == b"Xen\0" and note == _NOTE_PHYS32_ENTRY:
                return struct.unpack_from("<I", elf, value)[0]
            offset = value + disk.up(bytes_, 4)
    raise ValueError("the kernel has no PVH entry")


def start_info(cmdline, initrd_bytes, mem_bytes):
    """The page at START_INFO_PA."""
    module_at = START_INFO_PA + _START_INFO.size
    map_at = module_at + _MODULE.size
    ranges = [(0, disk.LOW_END), (1 << 20, mem_bytes - disk.ACPI_BYTES)]
    cmdline_at = map_at + len(ranges) * _RANGE.size
    data = _START_INFO.pack(_START_MAGIC, 1, 0, 1, module_at, cmdline_at, 0, map_at, len(ranges), 0)
    data += _MODULE.pack(INITRD_PA, initrd_bytes, 0, 0)
    data += b"".join(_RANGE.pack(start, end - start, _RAM, 0) for start, end in ranges)
    return data + cmdline.encode() + b"\0"


def write(path, kernel, cmdline, initrds, mem_bytes):
    """Writes the disk; returns how many cylinders it has.

    kernel: a vmlinux; initrds: archives, which the kernel sees as one.
    """
    initrd = b"".join(data + bytes(-len(data) % disk.SECTOR) for data in initrds)
    contents = [(START_INFO_PA, start_info(cmdline, len(initrd), mem_bytes))]
    for kind, _, offset, _, address, size, _, _ in program_headers(kernel):
        if kind == _PT_LOAD and size:
            contents.append((address, kernel[offset : offset + size].rstrip(b"\0")))
    contents.append((INITRD_PA, initrd))
    return disk.write(path, disk.Start(pvh_entry(kernel), START_INFO_PA), contents)
