# SPDX-License-Identifier: Apache-2.0
"""The console of a running machine: shown, logged, watched, and on a terminal typed into."""

import contextlib
import os
import select
import subprocess
import sys
import termios
import time

from moltlib.verdict import Outcome

QUIT_KEY = 0x1D  # Ctrl-]
PANIC_PATIENCE = 10.0  # seconds of silence after a panic before the run is given up
_WAIT = 0.2  # seconds until the next look at the time
_CHUNK = 1024  # what may be written at once to something that select() calls writable
_BACKLOG = 1 << 16  # stop reading from the machine while so much waits to be shown


def interactive():
    return sys.stdin.isatty() and sys.stdout.isatty()


@contextlib.contextmanager
def raw_terminal():
    """Every key goes through as it is, Ctrl-C too, and so does what the machine prints."""
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    mode = termios.tcgetattr(descriptor)
    mode[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
    mode[0] &= ~(termios.ISTRIP | termios.PARMRK)
    mode[1] &= ~termios.OPOST
    mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN] = 1
    mode[6][termios.VTIME] = 0
    termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class Resets:
    """Presses the reset button when the console says what was asked for, once in each boot."""

    def __init__(self, emulator, texts, delay_ms=0):
        self._emulator = emulator
        self._texts = list(texts)
        self._delay = delay_ms / 1000
        self._pressed = 0
        self._seen = 0  # lines of the log
        self._due = None

    def step(self, log):
        """Looks at what is new, and resets when it is time; returns how long to wait for more."""
        if self._due is None and self._pressed < len(self._texts):
            self._look(log)
        if self._due is None:
            return _WAIT
        left = self._due - time.monotonic()
        if left <= 0:
            self._due = None
            self._pressed += 1
            self._emulator.reset()
        return min(max(left, 0), _WAIT)

    def _look(self, log):
        if len(log.starts) <= self._pressed:
            return  # what still comes is of the boot before
        self._seen = max(self._seen, log.starts[self._pressed])
        for line in log.lines[self._seen :]:
            self._seen += 1
            if self._texts[self._pressed] in line:
                self._due = time.monotonic() + self._delay
                return


class Relay:
    """Moves bytes between the machine, the terminal, the log and a file until the machine ends."""

    def __init__(
        self, emulator, log, serial=None, timeout=0, terminal=False, output=None, resets=None
    ):
        self.emulator = emulator
        self.log = log
        self.serial = serial  # binary file or None
        self.terminal = terminal
        self.output = sys.stdout.fileno() if output is None else output
        self.timeout = timeout
        self.resets = resets or Resets(emulator, ())
        self.started = time.monotonic()
        self.spoke = self.started  # when the machine last printed something
        self._shown = b""  # waits to be written to the output
        self._typed = b""  # waits to be sent to the machine
        self._quit = False

    def run(self):
        """Returns an Outcome; the emulator has ended or been stopped by then."""
        outcome = self._ended() if self.emulator.console < 0 else None
        while outcome is None:
            alive = self._step()
            outcome = self._given_up()
            if not alive and outcome is None:
                outcome = self._ended()
        self.emulator.stop()
        self.log.finish()
        self._flush()
        return outcome

    def _step(self):
        """Waits for something and handles it; False once the machine's console is closed."""
        emulator = self.emulator
        readers = list(emulator.screens)
        writers = []
        if len(self._shown) < _BACKLOG:
            readers.append(emulator.console)
        if self.terminal:
            readers.append(sys.stdin.fileno())
        if self._shown:
            writers.append(self.output)
        if self._typed:
            writers.append(emulator.console)
        wait = self.resets.step(self.log)
        readable, writable, _ = select.select(readers, writers, [], wait)
        if self.output in writable:
            self._show()
        if emulator.console in writable:
            sent = os.write(emulator.console, self._typed[:_CHUNK])
            self._typed = self._typed[sent:]
        if set(emulator.screens) & set(readable):
            emulator.drain()
        if self.terminal and sys.stdin.fileno() in readable:
            self._type(os.read(sys.stdin.fileno(), _CHUNK))
        if emulator.console in readable:
            return self._receive()
        return emulator.process.poll() is None

    def _receive(self):
        try:
            data = os.read(self.emulator.console, 65536)
        except OSError:  # a pty whose other side is gone, a socket that was reset
            data = b""
        if not data:
            return False
        self.spoke = time.monotonic()
        self.log.feed(data)
        if self.serial:
            self.serial.write(data)
            self.serial.flush()
        self._shown += data if self.terminal else data.replace(b"\r", b"")
        return True

    def _type(self, keys):
        if not keys or QUIT_KEY in keys:
            self._quit = True
            keys = keys[: keys.index(QUIT_KEY)] if keys else b""
        self._typed += keys

    def _show(self):
        shown = os.write(self.output, self._shown[:_CHUNK])
        self._shown = self._shown[shown:]

    def _flush(self):
        deadline = time.monotonic() + 5
        while self._shown and time.monotonic() < deadline:
            if select.select([], [self.output], [], 0.2)[1]:
                self._show()

    def _given_up(self):
        now = time.monotonic()
        if self._quit:
            return Outcome("quit", "left with Ctrl-]")
        if self.timeout and now - self.started > self.timeout:
            silent = now - self.spoke
            last = self.log.last
            seen = f"last seen, {silent:.1f} s before: {last}" if last else "nothing was printed"
            return Outcome("timeout", f"time limit of {self.timeout:g} s reached; {seen}")
        if self.log.panicked and not self.terminal and now - self.spoke > PANIC_PATIENCE:
            return Outcome("stuck", f"nothing for {PANIC_PATIENCE:g} s after a panic")
        return None

    def _ended(self):
        console = self.emulator.console
        while console >= 0 and select.select([console], [], [], 0)[0] and self._receive():
            pass
        try:
            self.emulator.process.wait(10)
        except subprocess.TimeoutExpired:
            return Outcome("broken", "the emulator closed the console but does not end")
        return self.emulator.outcome()
