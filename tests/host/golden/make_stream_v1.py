#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes stream-v1.bin: a stream of version 1, put together from docs/LU_ABI.md alone.
With the argument "domains" stream-v1-domains.bin: domains that do not run, what readers get.

It shares no code with the writer that it is to check: each record is packed here by hand.
"""

import struct
import sys

PAGE = 4096
MAGIC = 0x315352544D746C6D
HOST, MODULE, DOMAIN, EXTENTS, HOST_STATE, DOMAIN_STATE, VUART, VCPU, MSRS, XSAVE = range(1, 11)
END = 12
OPTIONAL = 0x80000000
CONSOLE = OPTIONAL | 11
OUTPUT = OPTIONAL | 18
EDIT = OPTIONAL | 19
UNKNOWN = OPTIONAL | 0x5A5A

MSR_INDEX = (0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000102, 0xC0000103,
             0x174, 0x175, 0x176, 0x277)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(kind, payload):
    return struct.pack("<II", kind, len(payload)) + payload + bytes(-len(payload) % 8)


def text(string, size):
    return string.encode().ljust(size, b"\0")


def host():
    return record(HOST, struct.pack("<Q", 2400000) + text("0.1.0", 32) + text("c0ffee" * 6, 48))


def module(start, size, cmdline):
    return record(MODULE, struct.pack("<QQII", start, size, len(cmdline), 0) + cmdline.encode())


def domain(number, flags, vcpus, extents, name):
    memory = sum(PAGE << order for _, _, order in extents)
    head = struct.pack("<HHIQQ", number, flags, vcpus, memory, len(extents))
    listed = struct.pack("<HHHH", number, 0, 0, 0)
    for gfn, mfn, order in extents:
        listed += struct.pack("<QQII", gfn, mfn, order, 0)
    return record(DOMAIN, head + text(name, 32)) + record(EXTENTS, listed)


def host_state():
    return record(HOST_STATE, struct.pack("<QQQQ", 41, 3, 44, 0))


def domain_state(number, state, code):
    return record(DOMAIN_STATE, struct.pack("<HHIII", number, 0, state, code, 0))


def vuart(number, registers, divisor, waiting, flags, line):
    head = struct.pack("<H6BHBBI", number, *registers, divisor, len(waiting), flags, len(line))
    return record(VUART, head + waiting.ljust(16, b"\0") + line)


def segment(selector, limit, base, access):
    return struct.pack("<HHIQII", selector, 0, limit, base, access, 0)


def vcpu(number, index, activity, seed, wake):
    """Registers that tell which they are: `seed` in the top byte, the place below it."""
    def q(place):
        return seed << 56 | place

    body = struct.pack("<HHI", number, index, activity)
    body += struct.pack("<16Q", *(q(0x100 + i) for i in range(16)))
    body += struct.pack("<2Q", q(0x200), 0x202)                       # rip rflags
    body += struct.pack("<4Q", 0x80000031, q(0x202), 0x5000, 0x20)    # cr0 cr2 cr3 cr4
    body += struct.pack("<3Q", 9, 7, 0xD01)                           # cr8 xcr0 efer
    body += struct.pack("<4Q", *(q(0x300 + i) for i in range(4)))     # dr
    body += struct.pack("<2Q", 0xFFFF0FF1, 0x401)                     # dr6 dr7
    body += struct.pack("<4Q", *(q(0x400 + i) for i in range(4)))     # pdpte
    for i in range(8):
        body += segment(8 * i, 0xFFFFF000 + i, q(0x500 + i), 0xC093 + i)
    body += struct.pack("<QIIQII", q(0x600), 0x7F, 0, q(0x601), 0xFFF, 0)
    body += struct.pack("<4I", 8, 0x80000B0E, 0x1234, 0)              # NMI blocked, a #PF is due
    body += struct.pack("<3Q", 0x4000, q(0x700), wake)                # debug, offset, wake
    return record(VCPU, body)


def msrs(number, index, seed):
    values = [seed << 24 | place for place in range(9)] + [0x0007040600070406]
    body = struct.pack("<HHI", number, index, len(values))
    for msr, value in zip(MSR_INDEX, values):
        body += struct.pack("<IIQ", msr, 0, value)
    return record(MSRS, body)


def xsave(number, index, seed):
    image = bytearray((seed + i) & 0xFF for i in range(832))
    image[24:32] = struct.pack("<II", 0x1F80, 0xFFFF)                 # MXCSR and its mask
    image[512:576] = struct.pack("<Q", 7).ljust(64, b"\0")            # header
    return record(XSAVE, struct.pack("<HHIQ", number, index, len(image), 7) + bytes(image))


def console(focus, pending):
    return record(CONSOLE, struct.pack("<HHI", focus, 0, len(pending)) + pending)


def output(number, shown, total, kept):
    return record(OUTPUT, struct.pack("<HHIQ", number, shown, len(kept), total) + kept)


def edit(typed, flags):
    return record(EDIT, struct.pack("<II", len(typed), flags) + typed)


def closed(data):
    data += record(END, struct.pack("<II", crc32c(data), 0))
    return data + bytes(-len(data) % PAGE)


def domains():
    """A paused domain that was halted, a new one that is loaded, one that is not, one that runs."""
    data = struct.pack("<QII", MAGIC, 1, 0)
    data += host()
    data += domain(1, 1, 1, [(0, 0x400, 9)], "control")
    data += domain(2, 0, 1, [(0, 0x705, 0)], "paused")
    data += domain(3, 0, 1, [(0, 0x808, 3)], "loaded")
    data += domain(4, 0, 1, [], "empty")
    data += host_state()
    data += domain_state(1, 1, 0) + vuart(1, (0, 0, 0, 0, 0, 0), 1, b"", 0, b"unfinished")
    data += output(1, 4, 1000000000000, b"\r\nunfinished")
    data += vcpu(1, 0, 0, 0x11, 0) + msrs(1, 0, 0x11)
    data += domain_state(2, 4, 0) + vuart(2, (0, 0, 0, 0, 0, 0), 1, b"", 0, b"")
    data += output(2, 0, 3, b"abc")
    data += vcpu(2, 0, 1, 0x22, 0) + msrs(2, 0, 0x22)
    data += domain_state(3, 5, 0) + vuart(3, (0, 0, 0, 0, 0, 0), 1, b"", 0, b"")
    data += vcpu(3, 0, 0, 0x33, 0) + msrs(3, 0, 0x33)
    data += domain_state(4, 5, 0) + vuart(4, (0, 0, 0, 0, 0, 0), 1, b"", 0, b"")
    data += output(4, 0, 7, b"")
    data += vcpu(4, 0, 2, 0x44, 0) + msrs(4, 0, 0x44)
    data += console(0xFFFF, b"") + edit(b"stat pau", 1)
    return closed(data)


def stream():
    data = struct.pack("<QII", MAGIC, 1, 0)
    data += host()
    data += module(0x300000, 0x2345, "image name=next.elf")
    data += record(UNKNOWN, b"whatever")
    data += domain(1, 1, 2, [(0, 0x400, 9), (0x200, 0x705, 0), (0x201, 0x603, 0)], "control")
    data += domain(7, 0, 1, [(0x10, 0x808, 3)], "done")
    data += host_state()
    data += domain_state(1, 1, 0)
    data += vuart(1, (5, 3, 0x0B, 0x99, 0xC1, 2), 0x0C, b"typed", 1, b"not yet complete")
    data += vcpu(1, 0, 0, 0x11, 0) + msrs(1, 0, 0x11) + xsave(1, 0, 0x11)
    data += vcpu(1, 1, 0, 0x22, 0x123456789) + msrs(1, 1, 0x22) + record(UNKNOWN, b"")
    data += xsave(1, 1, 0x22)
    data += domain_state(7, 2, 42)
    data += vuart(7, (0, 0x83, 0, 0, 0, 0), 1, b"", 0, b"")
    data += vcpu(7, 0, 2, 0x33, 0) + msrs(7, 0, 0x33)
    data += console(1, b"molt: not yet printed\r\n")
    return closed(data)


if __name__ == "__main__":
    sys.stdout.buffer.write(domains() if sys.argv[1:] == ["domains"] else stream())
