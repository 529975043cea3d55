# SPDX-License-Identifier: Apache-2.0
"""Bootable CD images: GRUB loads molt, its guests and the images to update to as modules."""

import os
import re
import shutil
import subprocess

from moltlib.options import UsageError

GRUB_DIR = {"bios": "/usr/lib/grub/i386-pc", "uefi": "/usr/lib/grub/x86_64-efi"}
# Only what our grub.cfg needs, and the part_* that grub-mkrescue's own start script loads.
GRUB_MODULES = {
    "bios": "multiboot2 normal iso9660 boot echo test serial iorw mmap",
    "uefi": "multiboot2 normal iso9660 boot echo test serial iorw mmap part_acorn part_amiga"
    " part_apple part_bsd part_dfly part_dvh part_gpt part_msdos part_plan part_sun part_sunpc",
}
_CMOS_BYTE = "0x70"
_CMOS_SEEN = "5a"
_EPOCH = 1577836800  # the date of our files: only what grub-mkrescue adds differs between builds

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


def quote(word):
    """A word as GRUB's shell reads it back unchanged.

    The loaders put a backslash before each ' " and backslash of an argument, and double quotes
    around one that holds a space: words() keeps spaces out of arguments.
    """
    if re.search(r"[\0-\x1f\x7f]", word):
        raise UsageError(f"{word!r}: a command line cannot hold control characters")
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def words(text):
    """Words of a command line, each quoted for GRUB, separated by single spaces."""
    return " ".join(quote(word) for word in text.split())


def _broken(text):
    """GRUB passes over this memory, and says so in the map that it hands on."""
    start, dash, end = text.partition("-")
    if not (dash and all(re.fullmatch(r"\d+[KMG]?", word) for word in (start, end))):
        raise UsageError(f"{text!r} is no range of memory such as 1M-2M")
    return f"cutmem {start} {end}"


def _molt_command(append):
    return f"multiboot2 /boot/molt.elf {words(append)}".rstrip()


def _again(boot):
    """A function that loads molt with other words once the machine has been reset: the clock
    chip's memory, which is 0 in a new emulator, says so."""
    return [
        f"outb 0x70 {_CMOS_BYTE}",
        "inb -v seen 0x71",
        f"outb 0x70 {_CMOS_BYTE}",
        f"outb 0x71 0x{_CMOS_SEEN}",
        "function load_molt {",
        f'if [ "$seen" = {_CMOS_SEEN} ]; then',
        _molt_command(boot.append_again),
        "else",
        _molt_command(boot.append),
        "fi",
        "}",
    ]


def modules(boot):
    """(short name, file, string) of each module of a Boot, in molt's order."""
    for index, guest in enumerate(boot.guests):
        control = " control" if guest.control else ""
        yield (f"g{index}.elf", guest.path, f"guest name={guest.name} mem={guest.mem}"
               f" vcpus={guest.vcpus}{control} cmdline={guest.cmdline}")
        for number, path in enumerate(guest.modules):
            text = f"module of={guest.name} cmdline={os.path.basename(path)}"
            yield f"m{index}-{number}", path, text
    for index, path in enumerate(boot.images):
        yield f"i{index}.elf", path, f"image name={os.path.basename(path)}"


def grub_cfg(boot):
    """(text of grub.cfg, {name in /boot: file})"""
    files = {"molt.elf": boot.molt}
    commands = [_molt_command(boot.append) if boot.append_again is None else "load_molt"]
    for name, path, text in modules(boot):
        files[name] = path
        commands.append(f"module2 /boot/{name} {words(text)}")

    # boot comes back only if something failed. Then say it where it is seen, and end the machine.
    lines = ["set timeout=0"]
    lines += [] if boot.broken is None else [_broken(boot.broken)]
    lines += [] if boot.append_again is None else _again(boot)
    lines += [f"if {command}; then" for command in commands]
    lines += ["boot"] + ["fi"] * len(commands)
    lines += [
        'if [ "$grub_platform" = pc ]; then',
        "serial --unit=0 --speed=115200",
        "terminal_output serial",
        "fi",
        'echo "GRUB could not load this:"',
        *commands,
        "outl 0xf4 1",
        *(f"outb 0x8900 {ord(letter)}" for letter in "Shutdown"),
    ]
    return "\n".join(lines) + "\n", files


def build(boot, output, workdir, firmware):
    """Writes a boot image. firmware: bios (smallest), uefi, or both."""
    for platform in ("bios", "uefi") if firmware == "both" else (firmware,):
        if not os.path.isdir(GRUB_DIR[platform]):
            raise UsageError(f"{GRUB_DIR[platform]} is missing: run tools/deps")
    tree = os.path.join(workdir, "iso")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    config, files = grub_cfg(boot)
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w", encoding="utf-8") as file:
        file.write(config)
    for name, path in files.items():
        shutil.copyfile(path, os.path.join(tree, "boot", name))
    for folder, _, names in os.walk(tree, topdown=False):
        for name in names:
            os.utime(os.path.join(folder, name), (_EPOCH, _EPOCH))
        os.utime(folder, (_EPOCH, _EPOCH))
    modules = GRUB_MODULES["bios" if firmware == "bios" else "uefi"]
    command = ["grub-mkrescue", "-o", output, "--fonts=", "--themes=", "--locales="]
    command += ["--install-modules=" + modules]
    if firmware != "both":
        command += ["-d", GRUB_DIR[firmware]]
    _run(command + [tree], os.path.join(workdir, "grub-mkrescue.log"))


def build_payload(payload, cmdline, output, workdir):
    """Writes a boot image without molt: GRUB starts a multiboot1 payload. BIOS only."""
    commands = [f"multiboot /boot/payload {words(cmdline)}".rstrip()]
    build_plain("multiboot", commands, {"payload": payload}, output, workdir)


def build_plain(loader, commands, files, output, workdir):
    """Writes a boot image without molt: GRUB gets these commands, with files {name in /boot: path}
    and the module that has its loader. BIOS only."""
    tree = os.path.join(workdir, "iso")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    for name, path in files.items():
        shutil.copyfile(path, os.path.join(tree, "boot", name))
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w", encoding="utf-8") as file:
        file.write("\n".join(["set timeout=0", *commands, "boot"]) + "\n")
    command = ["grub-mkrescue", "-o", output, "--fonts=", "--themes=", "--locales="]
    command += [f"--install-modules={loader} normal iso9660 boot", "-d", GRUB_DIR["bios"]]
    _run(command + [tree], os.path.join(workdir, "grub-mkrescue.log"))


def _run(command, log):
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(_EPOCH), TZ="UTC", LC_ALL="C")
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False
        )
    except FileNotFoundError:
        raise UsageError(f"{command[0]} is missing: run tools/deps") from None
    with open(log, "wb") as file:
        file.write(done.stdout)
    if done.returncode:
        text = done.stdout.decode("utf-8", "replace").strip()
        raise UsageError(f"{command[0]} failed ({done.returncode}):\n{text}")
