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
    "bios": "multiboot2 normal iso9660 boot echo test serial iorw",
    "uefi": "multiboot2 normal iso9660 boot echo test serial iorw part_acorn part_amiga part_apple"
    " part_bsd part_dfly part_dvh part_gpt part_msdos part_plan part_sun part_sunpc",
}
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


def grub_cfg(boot):
    """(text of grub.cfg, {name in /boot: file})"""
    files = {"molt.elf": boot.molt}
    commands = [f"multiboot2 /boot/molt.elf {words(boot.append)}".rstrip()]

    def module(name, path, text):
        files[name] = path
        commands.append(f"module2 /boot/{name} {words(text)}")

    for index, guest in enumerate(boot.guests):
        control = " control" if guest.control else ""
        module(
            f"g{index}.elf",
            guest.path,
            f"guest name={guest.name} mem={guest.mem} vcpus={guest.vcpus}{control}"
            f" cmdline={guest.cmdline}",
        )
        for number, path in enumerate(guest.modules):
            name = os.path.basename(path)
            module(f"m{index}-{number}", path, f"module of={guest.name} cmdline={name}")
    for index, path in enumerate(boot.images):
        module(f"i{index}.elf", path, f"image name={os.path.basename(path)}")

    # boot comes back only if something failed. Then say it where it is seen, and end the machine.
    lines = ["set timeout=0"]
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


def build_linux(kernel, initramfs, cmdline, output, workdir):
    """Writes a boot image without molt: GRUB starts a Linux kernel. BIOS only."""
    tree = os.path.join(workdir, "iso")
    os.makedirs(os.path.join(tree, "boot", "grub"))
    shutil.copyfile(kernel, os.path.join(tree, "boot", "vmlinuz"))
    shutil.copyfile(initramfs, os.path.join(tree, "boot", "initramfs"))
    lines = ["set timeout=0", f"linux /boot/vmlinuz {words(cmdline)}", "initrd /boot/initramfs"]
    with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines + ["boot"]) + "\n")
    command = ["grub-mkrescue", "-o", output, "--fonts=", "--themes=", "--locales="]
    command += ["--install-modules=linux normal iso9660 boot", "-d", GRUB_DIR["bios"]]
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
