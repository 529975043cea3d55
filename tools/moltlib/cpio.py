# SPDX-License-Identifier: Apache-2.0
"""Archives for Linux's initramfs: cpio, newc. Same files, same bytes.

They are written here and not by cpio because there are devices in them, which only root could make
as files first.
"""

import stat
from dataclasses import dataclass


@dataclass
class File:
    name: str
    mode: int
    data: bytes = b""
    device: tuple = (0, 0)


def directory(name):
    return File(name, stat.S_IFDIR | 0o755)


def program(name, data):
    return File(name, stat.S_IFREG | 0o755, data)


def plain(name, data):
    return File(name, stat.S_IFREG | 0o644, data)


def link(name, target):
    return File(name, stat.S_IFLNK | 0o777, target.encode())


def console():
    """/dev/console, which the kernel opens for /init."""
    return File("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1))


def _entry(number, file):
    path = file.name.encode() + b"\0"
    size = len(file.data)
    values = [number, file.mode, 0, 0, 1, 0, size, 0, 0, *file.device, len(path), 0]
    head = b"070701" + b"".join(b"%08X" % value for value in values) + path
    return head + b"\0" * (-len(head) % 4) + file.data + b"\0" * (-size % 4)


def archive(files):
    """Bytes of the archive; directories have to come before what is in them."""
    data = b"".join(_entry(number, file) for number, file in enumerate(files, 1))
    data += _entry(0, File("TRAILER!!!", 0))
    return data + b"\0" * (-len(data) % 512)


def write(path, files):
    """The archive as a file that is there whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(archive(files))
    new.replace(path)
