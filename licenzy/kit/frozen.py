"""Plain data that nobody changes any more: dicts and lists that refuse to be written to.

They are dicts and lists all the same, so that they compare and are written as JSON like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("it is not to be changed: make another one of it")


class FrozenDict(dict[str, Any]):
    """A dict that refuses to be changed."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class FrozenList(list[Any]):
    """A list that refuses to be changed."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse


def frozen(value: Any) -> Any:
    """The same data, which nobody changes any more, down to its innermost parts."""
    if type(value) is FrozenDict or type(value) is FrozenList:
        return value
    if isinstance(value, Mapping):
        return FrozenDict((name, frozen(each)) for name, each in value.items())
    if isinstance(value, list | tuple):
        return FrozenList(frozen(each) for each in value)
    return value
