# SPDX-License-Identifier: Apache-2.0
"""What each engine can do on this machine, and which one `auto` takes."""

import fcntl
import os
import shutil
import struct
from dataclasses import dataclass

# Virtualization that molt can use for its guests.
BACKENDS = ("vmx", "svm")

KVM_GET_API_VERSION = 0xAE00
KVM_GET_SUPPORTED_CPUID = 0xC008AE05  # _IOWR(0xae, 0x05, struct kvm_cpuid2)
_CPUID_ENTRY = struct.Struct("<10I")  # function, index, flags, eax, ebx, ecx, edx, 3 * padding
_CPUID_MAX = 256
_VMX = (0x00000001, 1 << 5)  # leaf, bit of ECX
_SVM = (0x80000001, 1 << 2)

QEMU = "qemu-system-x86_64"
BOCHS = "bochs"


def probe_kvm(path):
    """(usable, set of "vmx"/"svm" that a KVM guest would get, text): asks KVM itself."""
    try:
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return False, set(), f"{path}: {error.strerror}"
    try:
        version = fcntl.ioctl(device, KVM_GET_API_VERSION, 0)
        if version != 12:
            return False, set(), f"{path} has API version {version}, not 12"
        request = bytearray(struct.pack("<II", _CPUID_MAX, 0) + bytes(_CPUID_MAX * 40))
        fcntl.ioctl(device, KVM_GET_SUPPORTED_CPUID, request, True)
    except OSError as error:
        return False, set(), f"{path} opens, but does not answer as KVM does: {error.strerror}"
    finally:
        os.close(device)
    return True, offered(bytes(request)), f"{path} works"


def offered(answer):
    """The virtualization bits in a struct kvm_cpuid2."""
    (count,) = struct.unpack_from("<I", answer)
    found = set()
    for entry in range(min(count, _CPUID_MAX)):
        leaf, _, _, _, _, ecx, *_ = _CPUID_ENTRY.unpack_from(answer, 8 + entry * _CPUID_ENTRY.size)
        for name, (wanted, bit) in (("vmx", _VMX), ("svm", _SVM)):
            if leaf == wanted and ecx & bit:
                found.add(name)
    return found


class Host:
    """This machine; tests give other paths, another probe and other programs."""

    def __init__(self, root="/", probe=probe_kvm, which=shutil.which):
        self.root = root
        self.probe = probe
        self.which = which

    def path(self, name):
        return os.path.join(self.root, name)

    def cpu_flags(self):
        try:
            with open(self.path("proc/cpuinfo"), encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("flags"):
                        return set(line.partition(":")[2].split())
        except OSError:
            pass
        return set()

    def nested(self, module):
        """The nested parameter of kvm_intel or kvm_amd: True, False, None if it is not loaded."""
        try:
            path = self.path(f"sys/module/{module}/parameters/nested")
            with open(path, encoding="ascii") as file:
                return file.read().strip() in ("Y", "1")
        except OSError:
            return None


@dataclass
class Engine:
    name: str
    installed: bool  # can it run at all
    virtualization: str  # what guests of molt would get: "vmx", "svm", ""
    text: str  # why

    @property
    def runs_guests(self):
        return self.installed and self.virtualization in BACKENDS


def _kvm(host):
    if not host.which(QEMU):
        return Engine("kvm", False, "", f"{QEMU} is not installed")
    flags = host.cpu_flags()
    usable, bits, text = host.probe(host.path("dev/kvm"))
    if not usable:
        return Engine("kvm", False, "", text)
    for name, module in (("vmx", "kvm_intel"), ("svm", "kvm_amd")):
        if name not in bits:
            continue
        if name not in flags:
            return Engine("kvm", True, "", f"{text} and offers {name}, but /proc/cpuinfo lacks it")
        if not host.nested(module):
            return Engine("kvm", True, "", f"{text}, but nested virtualization is off in {module}")
        return Engine("kvm", True, name, f"{text}, {name} is nested")
    return Engine("kvm", True, "", f"{text}, but offers neither VMX nor SVM to its guests")


def _tcg(host):
    if not host.which(QEMU):
        return Engine("tcg", False, "", f"{QEMU} is not installed")
    return Engine("tcg", True, "svm", "emulates SVM, not VMX; BIOS and UEFI")


def _bochs(host):
    if not host.which(BOCHS):
        return Engine("bochs", False, "", f"{BOCHS} is not installed")
    return Engine("bochs", True, "vmx", "emulates VMX; BIOS only; its TSC counts instructions")


def engines(host=None):
    """{name: Engine}"""
    host = host or Host()
    return {name: probe(host) for name, probe in (("kvm", _kvm), ("tcg", _tcg), ("bochs", _bochs))}


def pick(found, wanted, firmware):
    """(name, why). (None, why) if there is none, or if the wanted one cannot be used."""
    if wanted != "auto":
        engine = found[wanted]
        if not engine.installed:
            return None, engine.text
        if wanted == "kvm" and not engine.virtualization:
            return None, engine.text
        if wanted == "bochs" and firmware == "uefi":
            return None, "Bochs has no UEFI: use --engine tcg"
        return wanted, "asked for; " + engine.text
    refused = []
    for name in ("kvm", "tcg", "bochs"):
        engine = found[name]
        if engine.runs_guests and not (name == "bochs" and firmware == "uefi"):
            return name, "; ".join(refused + [engine.text])
        text = "no UEFI" if engine.runs_guests else engine.text
        refused.append(f"not {name}: {text}")
    return None, "; ".join(refused)


def describe(host=None):
    """Lines for `molt engines`."""
    found = engines(host)
    lines = []
    for engine in found.values():
        if not engine.installed:
            can = "cannot run"
        elif engine.runs_guests:
            can = "runs molt and its guests"
        else:
            can = "runs molt, not its guests"
        lines.append(f"{engine.name:6} {can}: {engine.text}")
    for firmware in ("bios", "uefi"):
        name, why = pick(found, "auto", firmware)
        lines.append(f"auto with {firmware}: {name or 'nothing'}: {why}")
    return lines
