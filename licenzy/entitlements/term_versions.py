"""What terms say for windows, once an operator gave a purchase others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Mapped = TypeVar("Mapped")


@dataclass(frozen=True, slots=True)
class TermVersions(Generic[T]):
    """A value of the terms that were sold, and those of the terms that were given later, in order.

    A window that was over when terms were given keeps what it had. All of one that was not has the new value.
    """

    sold: T
    given: tuple[tuple[int, T], ...] = ()
    """Each with the second in which it was given."""

    @property
    def values(self) -> Sequence[T]:
        return [self.sold, *(value for _, value in self.given)]

    @property
    def latest(self) -> T:
        return self.values[-1]

    def at(self, instant: int) -> T:
        """The value that had been given by an instant."""
        return self.before(instant + 1)[-1]

    def before(self, instant: int) -> Sequence[T]:
        """The values that had been given before an instant. The last one is that of a window over then."""
        return [self.sold, *(value for since, value in self.given if since < instant)]

    def map(self, change: Callable[[T], Mapped]) -> TermVersions[Mapped]:
        """What a function makes of each value; one that makes no difference is left out."""
        sold = last = change(self.sold)
        given: list[tuple[int, Mapped]] = []
        for since, value in self.given:
            changed = change(value)
            if changed != last:
                given.append((since, changed))
            last = changed
        return TermVersions(sold, tuple(given))
