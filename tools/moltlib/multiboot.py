# SPDX-License-Identifier: Apache-2.0
"""A disk that starts molt and its guests under Bochs, without GRUB: what GRUB would put into memory
and into the boot information, where GRUB would put it (Multiboot2 specification, "Boot
information format").
"""

import re
import struct

from moltlib import disk, iso
from moltlib.options import UsageError

MEM_MAX = 3 << 30  # above, RAM has a hole

_MAGIC = 0x36D76289
_INFO_PA = 0x10000
_IMAGE_PA = 1 << 20
_PAGE = 4096
_LINKED_PA = 0x200000  # BOOT_PA of the Makefile: the image runs wherever it lies
_PT_LOAD = 1

_CMDLINE, _LOADER, _MODULE, _MMAP, _RSDP, _END = 1, 2, 3, 6, 14, 0
_RAM, _RESERVED, _ACPI = 1, 2, 3

_EHDR = struct.Struct("<16xHHIQQQIHHH")
_PHDR = struct.Struct("<IIQQQQQQ")


def _argument(text):
    """Words as GRUB hands them on."""
    return re.sub(r"""(['"\\])""", r"\\\1", " ".join(text.split())).encode() + b"\0"


def _tag(kind, body):
    data = struct.pack("<II", kind, 8 + len(body)) + body
    return data + bytes(-len(data) % 8)


def memory_map(mem_bytes):
    """(start, end, kind) as Bochs's BIOS says, up to 3 GiB."""
    acpi = mem_bytes - disk.ACPI_BYTES
    return [(0, disk.LOW_END, _RAM), (disk.LOW_END, 0xA0000, _RESERVED),
            (0xE8000, 0x100000, _RESERVED), (0x100000, acpi, _RAM), (acpi, mem_bytes, _ACPI),
            (0xFFFC0000, 1 << 32, _RESERVED)]


def information(cmdline, modules, mem_bytes):
    """(the boot information, offset in it of the RSDP). modules: (start, end, cmdline) each."""
    rsdp = _tag(_RSDP, bytes(20))
    ranges = b"".join(struct.pack("<QQII", start, end - start, kind, 0)
                      for start, end, kind in memory_map(mem_bytes))
    tags = _tag(_CMDLINE, _argument(cmdline)) + _tag(_LOADER, b"moltlib\0")
    for start, end, text in modules:
        tags += _tag(_MODULE, struct.pack("<II", start, end) + _argument(text))
    tags += _tag(_MMAP, struct.pack("<II", 24, 0) + ranges)
    at = 8 + len(tags) + 8
    tags += rsdp + _tag(_END, b"")
    return struct.pack("<II", 8 + len(tags), 0) + tags, at


def image(path):
    """(bytes of an ELF64 image in memory, its zeros included; offset of its entry)"""
    with open(path, "rb") as file:
        elf = file.read()
    if elf[:5] != b"\x7fELF\2" or len(elf) < _EHDR.size:
        raise UsageError(f"--no-grub: {path} is no image of molt")
    _, _, _, entry, at, _, _, _, size, count = _EHDR.unpack_from(elf)
    data = bytearray()
    for i in range(count):
        kind, _, offset, _, pa, filed, wanted, _ = _PHDR.unpack_from(elf, at + i * size)
        if kind == _PT_LOAD:
            where = pa - _LINKED_PA
            data += bytes(max(0, where + wanted - len(data)))
            data[where : where + filed] = elf[offset : offset + filed]
    return bytes(data), entry - _LINKED_PA


def build(boot, path, mem_bytes):
    """Writes the disk for a Boot; returns how many cylinders it has."""
    molt, entry = image(boot.molt)
    modules, bodies = [], b""
    at = _IMAGE_PA + disk.up(len(molt), _PAGE)
    for _, file, text in iso.modules(boot):
        with open(file, "rb") as opened:
            body = opened.read()
        start = at + len(bodies)
        modules.append((start, start + len(body), text))
        bodies += body + bytes(-len(body) % _PAGE)
    info, rsdp = information(boot.append, modules, mem_bytes)
    start = disk.Start(_IMAGE_PA + entry, _INFO_PA, _MAGIC, _INFO_PA + rsdp)
    return disk.write(path, start, [(_INFO_PA, info), (_IMAGE_PA, molt), (at, bodies)])
