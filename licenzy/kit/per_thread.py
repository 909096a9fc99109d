"""What each thread has one of, closed when the thread ends."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerThread(Generic[T]):
    """Opens one for each thread that asks.

    A thread's own is closed when the thread ends, when the thread drops it, and by `close`, which closes
    those of all threads. A fork's child begins without any: it neither uses nor closes those of its parent.
    """

    def __init__(self, open_one: Callable[[], T], close_one: Callable[[T], object]) -> None:
        self._open_one, self._close_one = open_one, close_one
        self._begin_anew()
        _all.add(self)

    def get(self) -> T:
        """The calling thread's own, opened at its first call."""
        try:
            mine: T = self._local.owned.value
            return mine
        except AttributeError:
            owned: _Owned[T] = _Owned(self._open_one(), self._close_one)
            self._local.owned = owned
            with self._guard:
                self._every.add(owned)
            return owned.value

    def drop(self) -> T | None:
        """Close the calling thread's own, and give it if there was any; its next call opens another."""
        owned: _Owned[T] | None = self._local.__dict__.pop("owned", None)
        if owned is None:
            return None
        owned.close()
        return owned.value

    def close(self) -> None:
        """Close those of all threads, none of which may be in use; who asks afterwards gets a new one."""
        with self._guard:
            every = list(self._every)
            self._begin_anew()
        for owned in every:
            owned.close()

    def _begin_anew(self) -> None:
        self._local = _Local()
        # By weak references: only its thread keeps what a thread has opened.
        self._every: weakref.WeakSet[_Owned[T]] = weakref.WeakSet()
        self._guard = threading.Lock()

    def _after_fork(self) -> None:
        _of_the_parent.extend(self._every)
        self._begin_anew()


class _Owned(Generic[T]):
    """What one thread has opened, closed with the last reference to it, which is the thread's."""

    def __init__(self, value: T, close_one: Callable[[T], object]) -> None:
        self.value = value
        self.close = weakref.finalize(self, close_one, value)
        # At the end of a process the system closes everything, whatever state threads are in.
        self.close.atexit = False


class _Local(threading.local):
    owned: _Owned[Any]


_all: weakref.WeakSet[PerThread[Any]] = weakref.WeakSet()
_of_the_parent: list[_Owned[Any]] = []
"""Kept for ever in a fork's child, since to close them would end what the parent is doing."""


def _begin_anew_after_fork() -> None:
    for each in list(_all):
        each._after_fork()


os.register_at_fork(after_in_child=_begin_anew_after_fork)
