#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes stream-v2.bin: a stream of version 2, put together from docs/LU_ABI.md alone.

With the argument `stops`: stream-v2-stops.bin, the same with the record STOPS.

What version 1 has too is packed by make_stream_v1.py's functions, by hand as well; all records that
an image of version 2 writes are in it.
"""

import struct
import sys

import make_stream_v1 as v1

LAPIC, IOAPIC, CLOCK, VCPU_CLOCK, SIGNALS = range(13, 18)
CPUS = 20
RECORDER = v1.OPTIONAL | 21
DIGEST = v1.OPTIONAL | 22
STOPS = v1.OPTIONAL | 23

VIRTUALIZED = 1
FEATURE_VMX, FEATURE_VCPUS, FEATURE_STATES, FEATURE_X2APIC, FEATURE_CLOCK = 1, 4, 8, 16, 32

CONTROL = [(0, 0x400, 9), (0x200, 0x705, 0), (0x201, 0x603, 0)]
DONE = [(0x10, 0x808, 3)]
PAUSED = [(0, 0x900, 1)]


def cpus(number, flags, features):
    return v1.record(CPUS, struct.pack("<IIQ", number, flags, features))


def recorder(start, size):
    return v1.record(RECORDER, struct.pack("<QQ", start, size))


def digest(number, extents, memory=None):
    """`memory`: what it holds, when its checksum is to be given too."""
    listed = b"".join(struct.pack("<QQII", gfn, mfn, order, 0) for gfn, mfn, order in extents)
    flags, memory_crc = (0, 0) if memory is None else (1, v1.crc32c(memory))
    return v1.record(
        DIGEST, struct.pack("<HHIII", number, flags, v1.crc32c(listed), memory_crc, 0)
    )


def stops(*rows):
    """(domain, vCPU, APIC id, TSC); domain 0: the CPU."""
    return v1.record(STOPS, b"".join(struct.pack("<HHIQ", *row) for row in rows))


def lapic(number, index, seed, base):
    def bits(place):
        return [seed << 24 | place << 8 | word for word in range(8)]

    body = struct.pack("<HHIQ", number, index, index, base)
    body += struct.pack("<4I", 0x90, 0x1FF, seed << 24, 0xFFFFFFFF)   # tpr (as cr8) svr ldr dfr
    body += struct.pack("<2I", 0x40, 0x80)                            # esr esr_pending
    body += struct.pack("<6I", *(0x10000 | seed + lvt for lvt in range(6)))
    body += struct.pack("<Q", seed << 56 | 0x4500)                    # icr
    body += struct.pack("<24I", *bits(1), *bits(2), *bits(3))         # irr isr tmr
    body += struct.pack("<2I", 1000 + seed, 0xB)                      # timer: initial, divide
    body += struct.pack("<2Q", seed << 40, seed << 32)                # start, deadline
    body += struct.pack("<2I", 100 + seed, 0)
    return v1.record(LAPIC, body)


def ioapic(number, seed):
    pins = [seed << 56 | 0x10000 | pin for pin in range(24)]
    body = struct.pack("<4H2I", number, 0, 0, 0, 0x12, seed << 24)
    return v1.record(IOAPIC, body + struct.pack("<24Q", *pins) + struct.pack("<2I", 0x10, 0))


def clock(number, seed, wall_msr):
    body = struct.pack("<HHI", number, 0, 999999000 + seed)
    return v1.record(CLOCK, body + struct.pack("<3Q", 1700000000 + seed, seed << 32, wall_msr))


def vcpu_clock(number, index, system_time_msr):
    return v1.record(VCPU_CLOCK, struct.pack("<HHIQ", number, index, 0, system_time_msr))


def signals(number, index):
    return v1.record(SIGNALS, struct.pack("<HHI", number, index, 1))


def vcpu(number, index, activity, seed, apic_base, clock_msr):
    return (
        v1.vcpu(number, index, activity, seed, 0)
        + v1.msrs(number, index, seed)
        + v1.xsave(number, index, seed)
        + lapic(number, index, seed, apic_base)
        + vcpu_clock(number, index, clock_msr)
    )


def stream(later=b""):
    """`later`: records that came by later."""
    data = struct.pack("<QII", v1.MAGIC, 2, 0)
    data += v1.host()
    data += v1.module(0x300000, 0x2345, "image name=next.elf")
    data += recorder(0xA00000, 0x10000)
    data += v1.domain(1, 1, 2, CONTROL, "control")
    data += v1.domain(7, 0, 1, DONE, "done")
    data += v1.domain(8, 0, 1, PAUSED, "paused")
    data += v1.host_state()
    features = FEATURE_VMX | FEATURE_VCPUS | FEATURE_STATES | FEATURE_X2APIC | FEATURE_CLOCK
    data += cpus(1, VIRTUALIZED, features)
    data += later
    data += v1.domain_state(1, 1, 0)
    data += v1.vuart(1, (5, 3, 0x0B, 0x99, 0xC1, 2), 0x0C, b"typed", 1, b"not yet complete")
    data += v1.output(1, 4, 1000000000000, b"\r\nnot yet complete")
    data += ioapic(1, 0x11) + clock(1, 0x11, 0x1230)
    data += vcpu(1, 0, 0, 0x11, 0xFEE00900, 0x4001)
    data += vcpu(1, 1, 0, 0x22, 0xFEE00C00, 0x5000) + signals(1, 1)
    data += v1.domain_state(7, 2, 42)
    data += v1.vuart(7, (0, 0x83, 0, 0, 0, 0), 1, b"", 0, b"")
    data += vcpu(7, 0, 2, 0x33, 0xFEE00900, 0)
    data += v1.domain_state(8, 4, 0)
    data += v1.vuart(8, (0, 0, 0, 0, 0, 0), 1, b"", 0, b"")
    data += ioapic(8, 0x44) + clock(8, 0x44, 0)
    data += vcpu(8, 0, 1, 0x44, 0xFEE00900, 0)
    data += digest(1, CONTROL) + digest(7, DONE, bytes(8 * v1.PAGE)) + digest(8, PAUSED)
    data += v1.record(v1.UNKNOWN, b"whatever")
    data += v1.console(1, b"molt: not yet printed\r\n") + v1.edit(b"stat pau", 1)
    return v1.closed(data)


if __name__ == "__main__":
    STOPPED = stops(
        (0, 0, 0, 0x1000000), (1, 0, 0, 0xFFFFFF), (1, 1, 0xFFFFFFFF, 0), (8, 0, 0, 0x800000)
    )
    sys.stdout.buffer.write(stream(STOPPED if sys.argv[1:] == ["stops"] else b""))
