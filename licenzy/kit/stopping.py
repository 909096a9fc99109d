"""How a process hears that it shall stop, without a lock that its main thread might hold at that moment.

Python runs a signal's handler in the main thread, between any two steps of whatever that is doing. Were the
handler to set the `threading.Event` on which the main thread waits, both would want the same lock, and the
process would hang for good. So the handler here only notes, and the main thread is woken through a pipe,
into which the interpreter itself writes when a signal arrives, in whichever thread that is.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignal:
    """SIGTERM and SIGINT of this process, for its main thread to wait for; SIGHUP is ignored.

    `given` says whether one of them has come. There may be only one that listens in a process.
    """

    def __init__(self) -> None:
        self.given = False
        self._reading = -1
        self._writing = -1

    def listen(self) -> None:
        """Note signals from now on, also those that the parent held back; to repeat it does no harm.

        Only in the main thread. A process that was forked needs an object of its own.
        """
        if self._reading < 0:
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._reading, False)
            os.set_blocking(self._writing, False)
        # A full pipe wakes as well as one byte does.
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in STOPPING:
            signal.signal(number, self.note)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)

    def note(self, *_args: object) -> None:
        """Remember that the process shall stop: what a handler may do, and all that it may do."""
        self.given = True

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until told to stop, until woken, or so many seconds; whether told to stop.

        Only in the main thread. May return early and be called again, any signal being a reason to look.
        """
        if not self.given:
            poll = select.poll()
            poll.register(self._reading, select.POLLIN)
            poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
            with suppress(BlockingIOError):
                os.read(self._reading, 4096)
        return self.given

    def wake(self) -> None:
        """Have `wait` return; from any thread."""
        with suppress(BlockingIOError):
            os.write(self._writing, b"\0")

    def fileno(self) -> int:
        """The descriptor that can be read when there is a reason to call `wait`."""
        return self._reading

    @contextmanager
    def signals_blocked(self) -> Iterator[None]:
        """For starting a process that will listen for itself: what it is sent before waits until it does."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def leave(self, status: int) -> NoReturn:
        """End the process at once, with this exit status.

        Python's own end would give signals their first meaning back before the process is gone, so that one
        more could still take the status; and it would wait for pools of threads, of which one may hang.
        """
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # Nobody reads any more.
                stream.flush()
        os._exit(status & 0xFF)
