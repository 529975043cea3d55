# SPDX-License-Identifier: Apache-2.0
"""The subcommands of tools/molt."""

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time

from moltlib import console, debug, detect, emulator, iso, multiboot, options, timeline
from moltlib.log import Log
from moltlib.options import UsageError
from moltlib.verdict import EXIT_USAGE, judge, summary


def say(text):
    sys.stdout.flush()
    for line in text.splitlines():
        print(f"molt-run: {line}", file=sys.stderr, flush=True)


class Signalled(BaseException):
    """SIGTERM or SIGHUP arrived."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def _raise_signalled(number, _frame):
    raise Signalled(number)


@contextlib.contextmanager
def work_directory(keep):
    """A directory for temporary files: removed at the end unless the user names one."""
    if keep:
        os.makedirs(keep, exist_ok=True)
        shutil.rmtree(os.path.join(keep, "iso"), ignore_errors=True)
        yield os.path.abspath(keep)
        return
    with tempfile.TemporaryDirectory(prefix="molt-") as path:
        yield path


def make_machine(args, workdir):
    """(machine that the options describe, names of the guests): builds the boot image."""
    if args.iso and not os.path.isfile(args.iso):
        raise UsageError(f"not found: {args.iso}")
    mem = options.size_bytes(args.mem)
    if mem < 32 << 20:
        raise UsageError(f"--mem {args.mem} is too little")
    name, why = detect.pick(detect.engines(), args.engine, args.firmware)
    if not name:
        raise UsageError(f"no engine: {why}")
    image = args.iso and os.path.abspath(args.iso)
    hard_disk = None
    guests = []
    if not image:
        image = os.path.join(workdir, "molt.iso")
        boot = options.boot_from(args)
        runs = not args.no_vmx
        if args.updates is not None and runs and not any(guest.control for guest in boot.guests):
            raise UsageError("--updates needs a guest with ,control to make them")
        guests = [guest.name for guest in boot.guests]
        if args.no_grub:
            hard_disk = make_disk(args, boot, name, mem, workdir)
        else:
            iso.build(boot, image, workdir, args.firmware)
    say(f"engine {name}: {why}")
    machine = emulator.Machine(
        engine=name,
        iso=image,
        firmware=args.firmware,
        cpus=args.cpus,
        mem_bytes=mem,
        cpu_model=args.cpu_model or "",
        no_vmx=args.no_vmx,
        disk=hard_disk,
        realtime=args.realtime,
        qemu_args=args.qemu_arg,
        bochsrc=args.bochsrc,
    )
    return machine, guests


def make_disk(args, boot, engine, mem, workdir):
    """(path, cylinders) of a hard disk that does without GRUB."""
    if engine != "bochs" or mem > multiboot.MEM_MAX or boot.append_again is not None:
        raise UsageError("--no-grub: on Bochs only, up to 3 GiB, without --append-again")
    path = os.path.join(workdir, "molt.disk")
    return path, multiboot.build(boot, path, mem)


def cpu_seconds():
    """What this process and its children took, the emulator above all."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run(args):
    args.boots = args.boots or 1 + len(args.reset_at)
    terminal = console.interactive()
    timeout = args.timeout
    if timeout is None:
        timeout = 0 if terminal else options.DEFAULT_TIMEOUT
    with contextlib.ExitStack() as stack:
        workdir = stack.enter_context(work_directory(args.keep))
        serial = stack.enter_context(open(args.serial, "wb")) if args.serial else None
        machine, guests = make_machine(args, workdir)
        machine.resets = args.boots > 1
        if args.reset_at and machine.engine == "bochs":
            raise UsageError("--reset-at: Bochs cannot be reset from outside")
        say(f"{machine.firmware}, {machine.cpus} CPU, {machine.mem_mib} MiB")
        if terminal:
            say("Ctrl-] quits, Ctrl-A is molt's own escape key")
        log = Log(resets=args.boots - 1)
        started = time.monotonic()
        child = emulator.create(machine, workdir)
        stack.callback(child.close)
        child.start()
        if terminal:
            stack.enter_context(console.raw_terminal())
        resets = console.Resets(child, args.reset_at, args.reset_delay)
        outcome = console.Relay(child, log, serial, timeout, terminal, resets=resets).run()
    if not log.complete:
        print(flush=True)
    verdict = judge(log, outcome, args.updates, guests, args.boots)
    say(f"{machine.engine}: {time.monotonic() - started:.1f} s, {cpu_seconds():.1f} s of CPU")
    for line in summary(log, verdict):
        say(line)
    if args.timeline:
        draw_timeline(log, args.timeline)
    return verdict.code


def draw_timeline(log, path):
    """What a run leaves: whether there is something to draw is not what is judged."""
    try:
        say(f"timeline: {timeline.write(log, path)} updates in {path}")
    except UsageError as error:
        say(f"timeline: {error}")


def make_timeline(args):
    log = timeline.read(args.log)
    drawn = timeline.write(log, args.output, args.update, args.unit)
    say(f"{args.output}: {drawn} of {len(log.updates)} updates")
    return 0


def make_iso(args):
    with work_directory(None) as workdir:
        iso.build(options.boot_from(args), os.path.abspath(args.output), workdir, args.firmware)
    return 0


def run_debug(args):
    with work_directory(args.keep) as workdir:
        if args.engine == "auto":
            args.engine = "tcg"
        return debug.run(args, make_machine(args, workdir)[0], workdir, say)


def engines(_args):
    print("\n".join(detect.describe()))
    return 0


COMMANDS = {"run": run, "iso": make_iso, "debug": run_debug, "engines": engines,
            "timeline": make_timeline}


def main(argv):
    args = options.parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise_signalled)
    try:
        return COMMANDS[args.command](args)
    except UsageError as error:
        say(str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        say("interrupted")
        return 128 + signal.SIGINT
    except Signalled as caught:
        say(f"ended by {signal.Signals(caught.number).name}")
        return 128 + caught.number
    except BrokenPipeError:  # whoever read our output is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
