# SPDX-License-Identifier: Apache-2.0
"""QEMU and Bochs as child processes: command lines, the console's wires, how they ended."""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import termios
import tty
from dataclasses import dataclass, field

from moltlib.detect import BOCHS, QEMU
from moltlib.options import UsageError
from moltlib.verdict import Outcome

_MIB = 1 << 20
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

OVMF_CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
OVMF_VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
BOCHS_SHARE = "/usr/share/bochs"
BOCHS_PLUGINS = "/usr/lib/x86_64-linux-gnu/bochs/plugins"
BOCHS_CPU = "corei7_skylake_x"
BOCHS_CPU_NO_VMX = "p4_prescott_celeron_336"  # nor SVM
BOCHS_IPS = 50000000
BOCHS_QUANTUM = 32  # instructions of a CPU before the next one's turn: as many as it allows
BOCHS_DATE = 1577836800
BOCHS_HEADS, BOCHS_PER_TRACK = 16, 63  # of a hard disk: whole cylinders only


@dataclass
class Machine:
    engine: str
    iso: str  # "" with QEMU: what qemu_args say
    firmware: str = "bios"
    cpus: int = 1
    mem_bytes: int = 512 * _MIB
    cpu_model: str = ""
    no_vmx: bool = False
    realtime: bool = False
    resets: bool = False  # a reset does not end the run
    disk: tuple = None  # Bochs: path and cylinders of a hard disk to boot, and not a CD
    qemu_args: list = field(default_factory=list)
    bochsrc: list = field(default_factory=list)

    @property
    def mem_mib(self):
        return self.mem_bytes // _MIB


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command, **options):
    """A child that is killed when this process dies, however that happens."""
    return subprocess.Popen(command, preexec_fn=_die_with_parent, **options)


def _accelerator(machine):
    """-accel. QEMU 7.2 loads the x87 registers of any CPU (XRSTOR) with a write to the first one's
    SVM state, unlocked: with a thread for each CPU, one on its way into or out of a guest now and
    then has nested paging on in the host, or off in the guest."""
    if machine.engine == "tcg" and machine.cpus > 1 and not machine.no_vmx:
        return "tcg,thread=single"
    return machine.engine


def qemu_command(machine, workdir, console):
    """QEMU's command line. console: arguments that say where COM1 goes."""
    if machine.engine == "kvm":
        cpu = machine.cpu_model or "host"
    else:
        cpu = machine.cpu_model or "max"
        if machine.mem_bytes >= 512 << 30:
            cpu += ",phys-bits=46"
    if machine.no_vmx:
        cpu += ",-vmx,-svm" if machine.engine == "kvm" else ",-svm"
    command = [QEMU, "-nodefaults", "-no-user-config", "-display", "none"]
    if not machine.resets:
        command.append("-no-reboot")
    command += ["-accel", _accelerator(machine), "-cpu", cpu, "-smp", str(machine.cpus)]
    command += ["-M", "q35,memory-backend=ram", "-m", f"{machine.mem_mib}M"]
    command += ["-object", f"memory-backend-ram,id=ram,size={machine.mem_mib}M,reserve=off"]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if machine.iso:
        drive = "if=none,id=cd,media=cdrom,readonly=on,format=raw"
        command += ["-drive", f"{drive},file={_comma(machine.iso)}"]
        command += ["-device", "ide-cd,bus=ide.0,drive=cd,bootindex=0"]
    if machine.firmware == "uefi":
        if not os.path.isfile(OVMF_CODE) or not os.path.isfile(OVMF_VARS):
            raise UsageError(f"{OVMF_CODE} is missing: run tools/deps")
        variables = os.path.join(workdir, "ovmf-vars.fd")
        shutil.copyfile(OVMF_VARS, variables)
        command += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF_CODE}"]
        command += ["-drive", f"if=pflash,unit=1,format=raw,file={_comma(variables)}"]
    return command + console + machine.qemu_args


def _comma(path):
    return path.replace(",", ",,")


def _bochs_drive(machine):
    if not machine.disk:
        return f'ata0-master: type=cdrom, path="{machine.iso}", status=inserted', "boot: cdrom"
    path, cylinders = machine.disk
    geometry = f"cylinders={cylinders}, heads={BOCHS_HEADS}, spt={BOCHS_PER_TRACK}"
    return f'ata0-master: type=disk, mode=flat, path="{path}", {geometry}', "boot: disk"


def bochs_config(machine, workdir, com1, display):
    """Text of a bochsrc."""
    model = machine.cpu_model or (BOCHS_CPU_NO_VMX if machine.no_vmx else BOCHS_CPU)
    # Bochs swaps guest memory that does not fit into host= to a file; it takes 2048 at most.
    host = min(machine.mem_mib, 2048, _available_mib() * 3 // 4)
    lines = [
        f"display_library: {display}",
        # No wait for a key: of several CPUs, idle ones cost as much as busy ones.
        f"romimage: file={BOCHS_SHARE}/BIOS-bochs-latest, options=fastboot",
        f"vgaromimage: file={BOCHS_SHARE}/VGABIOS-lgpl-latest",
        f"memory: guest={machine.mem_mib}, host={host}",
        "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14",
        *_bochs_drive(machine),
        f"com1: enabled=1, {com1}",
        f"cpu: model={model}, count={machine.cpus}, ips={BOCHS_IPS}, quantum={BOCHS_QUANTUM}, "
        "reset_on_triple_fault=0",
        # The date is always the same, so a run repeats to the instruction.
        f"clock: sync={'slowdown' if machine.realtime else 'none'}, time0={BOCHS_DATE}",
        f"log: {workdir}/bochs.log",
        "panic: action=fatal",
        "sound: driver=dummy, waveout=/dev/null, wavein=, midiout=",
        "speaker: enabled=0",
        "plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, e1000=0,"
        " es1370=0, sb16=0, ne2k=0",
    ]
    return "\n".join(lines + machine.bochsrc) + "\n"


def _available_mib():
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) >> 10
    except OSError:
        pass
    return 2048


class Emulator:
    """A running machine. console: file descriptor of its COM1, both directions."""

    def __init__(self, machine, workdir):
        self.machine = machine
        self.workdir = workdir
        self.process = None
        self.console = -1
        self.screens = []  # descriptors that drain() empties
        self._open = []  # what must stay open while it runs

    def start(self):
        raise NotImplementedError

    def outcome(self):
        """An Outcome, once the process has ended."""
        raise NotImplementedError

    def reset(self):
        """The reset button."""
        raise NotImplementedError

    def stop(self):
        """Ends this emulator, and only this one."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def drain(self):
        """Throws away what the emulator draws on a screen that nobody sees."""
        for screen in self.screens:
            with contextlib.suppress(OSError):
                while os.read(screen, 65536):
                    pass

    def close(self):
        self.stop()
        for thing in self._open:
            thing.close()
        self._open = []
        self.screens = []
        self.console = -1

    def _errors(self):
        """What the emulator itself had to say, except warnings."""
        try:
            with open(os.path.join(self.workdir, "emulator.err"), errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            return ""
        return "\n".join(line for line in lines if line.strip() and "warning: " not in line)


def qemu_outcome(code, errors):
    """How a QEMU with an isa-debug-exit ended; errors: what it had to say itself."""
    if code == 1 and errors:
        return Outcome("broken", f"QEMU: {errors.splitlines()[-1]}")
    if code == 1:
        return Outcome("ok")
    if code == 0:
        return Outcome("reset", "triple fault, reset or power-off")
    if code > 0 and code & 1 and not errors:
        return Outcome("failed", f"the machine was ended with code {code >> 1}")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Outcome("broken", f"QEMU ended with {how}: {errors or 'no message'}")


class Qemu(Emulator):
    def start(self):
        ours, theirs = socket.socketpair()
        self._monitor, monitor = socket.socketpair()
        self._open.append(self._monitor)
        console = ["-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1"]
        command = qemu_command(self.machine, self.workdir, console)
        command += ["-chardev", f"socket,id=qmp,fd={monitor.fileno()}"]
        command += ["-mon", "chardev=qmp,mode=control"]
        with open(os.path.join(self.workdir, "emulator.err"), "wb") as errors:
            # A group of its own: Ctrl-C in the terminal is for the runner to handle.
            self.process = spawn(
                command, stdin=theirs, stdout=theirs, stderr=errors, start_new_session=True,
                pass_fds=[monitor.fileno()],
            )
        theirs.close()
        monitor.close()
        self._open.append(ours)
        self.console = ours.fileno()

    def reset(self):
        # Nothing of what QEMU answers matters: a reset that did not come shows in the console.
        self._monitor.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "system_reset"}\n')

    def outcome(self):
        return qemu_outcome(self.process.returncode, self._errors())


class Bochs(Emulator):
    def start(self):
        listener, pty_ours, com1 = self._com1()
        master, slave = os.openpty()  # Bochs needs some display: its text one, which nobody sees
        if os.path.exists(os.path.join(BOCHS_PLUGINS, "libbx_term_gui.so")):
            display = "term"
        else:
            display = 'rfb, options="timeout=0"'
        config = os.path.join(self.workdir, "bochsrc")
        with open(config, "w", encoding="utf-8") as file:
            file.write(bochs_config(self.machine, self.workdir, com1, display))
        commands = os.path.join(self.workdir, "bochs.commands")
        with open(commands, "w", encoding="ascii") as file:
            file.write("c\n")
        environment = dict(os.environ, TERM="linux", LINES="25", COLUMNS="80")
        with open(os.path.join(self.workdir, "emulator.err"), "wb") as errors:
            self.process = spawn(
                [BOCHS, "-q", "-f", config, "-rc", commands],
                stdin=slave, stdout=slave, stderr=errors, start_new_session=True, env=environment,
            )
        os.close(slave)
        self.screens = [master]
        os.set_blocking(master, False)
        self._open.append(os.fdopen(master, "rb", buffering=0))
        if listener:
            self._connect(listener)
        else:
            self.console = pty_ours
        self._find_screen()

    def _find_screen(self):
        """Bochs's text display opens a terminal of its own and, after some minutes of drawing the
        cursor there, waits for ever for somebody to read it."""
        for entry in os.listdir(f"/proc/{self.process.pid}/fd"):
            with contextlib.suppress(OSError, termios.error):
                if not os.readlink(f"/proc/{self.process.pid}/fd/{entry}").endswith("ptmx"):
                    continue
                with open(f"/proc/{self.process.pid}/fdinfo/{entry}", encoding="ascii") as file:
                    index = re.search(r"^tty-index:\s*(\d+)", file.read(), re.MULTILINE)
                if index:
                    screen = os.open(f"/dev/pts/{index.group(1)}",
                                     os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
                    self._open.append(os.fdopen(screen, "rb", buffering=0))
                    tty.setraw(screen)
                    self.screens.append(screen)

    def _com1(self):
        """(listening socket or None, pty master or -1, bochsrc text)

        A socket never loses output. Without a loopback network a pty does, which drops what the
        runner has not read in time.
        """
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            probe = socket.create_connection(listener.getsockname(), timeout=2)
            listener.accept()[0].close()
            probe.close()
            return listener, -1, f"mode=socket-client, dev=127.0.0.1:{listener.getsockname()[1]}"
        except OSError:
            listener.close()
        master, slave = os.openpty()
        tty.setraw(slave)
        self._open += [os.fdopen(master, "rb+", buffering=0), os.fdopen(slave, "rb", buffering=0)]
        return None, master, f"mode=term, dev={os.ttyname(slave)}"

    def _connect(self, listener):
        listener.settimeout(0.1)
        while self.process.poll() is None:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                self.drain()
                continue
            connection.setblocking(True)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(connection)
            self.console = connection.fileno()
            break
        listener.close()

    def outcome(self):
        text = self._errors() + "\n" + self._log()
        if "Shutdown port: shutdown requested" in text:
            return Outcome("ok")  # success or failure: the console says which
        panics = re.findall(r">>PANIC<<\s*(.*)", text)
        if any("triple fault" in panic or "3rd" in panic for panic in panics):
            return Outcome("reset", f"triple fault: {panics[-1]}")
        lines = self._errors().splitlines()
        message = panics[-1] if panics else lines[-1] if lines else "no message"
        return Outcome("broken", f"Bochs ended with exit code {self.process.returncode}: {message}")

    def _log(self):
        try:
            with open(os.path.join(self.workdir, "bochs.log"), errors="replace") as file:
                return file.read()[-65536:]
        except OSError:
            return ""


def create(machine, workdir):
    return (Bochs if machine.engine == "bochs" else Qemu)(machine, workdir)
