"""What spares everybody the wait for a database that is gone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from licenzy.db.failures import log_unavailable
from licenzy.errors import DatabaseUnavailable

_log = logging.getLogger("licenzy.db")


class Breaker:
    """Refuses at once while the database is lost, and lets one caller at a time find out whether it is back.

    It opens for lost and refused connections alone: a lock or a slow statement says that there is a database.
    `probe` raises while there is none.
    """

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._is_open = False
        self._probing = threading.Lock()
        self.generation = 0
        """How often the database was lost: connections of an earlier generation may be silent for ever."""

    @property
    def is_open(self) -> bool:
        """Whether the database is known to be lost: who must not wait for a probe asks this first."""
        return self._is_open

    def admit(self) -> None:
        """Let the caller on. Raises DatabaseUnavailable while the database is lost."""
        if self._is_open:
            self._find_out()

    def lost(self, *, generation: int | None = None, was_open: bool = True) -> None:
        """Open, unless the connection that was lost is of an earlier `generation`, whose end is known.

        Where it was refused and never open, those that are open may still be good.
        """
        if generation is None or generation == self.generation:
            self.generation += was_open
            self._is_open = True

    def begin_anew_after_fork(self) -> None:
        """In a fork's child: somebody of the parent may have been finding out at that moment."""
        self._probing = threading.Lock()

    def _find_out(self) -> None:
        if not self._probing.acquire(blocking=False):
            raise DatabaseUnavailable
        try:
            self._probe()
            self._is_open = False
        except Exception as error:
            log_unavailable(error)
            raise DatabaseUnavailable from error
        finally:
            self._probing.release()
        _log.warning("the database answers again")
