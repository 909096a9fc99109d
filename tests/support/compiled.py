"""What is compiled once per process, though every test has an application of its own.

Making an application and showing a page cost mostly compiling: Werkzeug writes a function for each route,
which builds its addresses, and Jinja one for each template. Both are pure functions of their texts.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

_compile_builder = Rule._compile_builder


def compile_once() -> None:
    """From now on the applications of this process share what was compiled for one of them."""
    known: dict[Any, Callable[..., tuple[str, str]]] = {}

    def remembered(self: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        if self.defaults:  # These are written into the function, and few routes have them.
            return _compile_builder(self, append_unknown)
        key = (self.rule, tuple(self._trace), append_unknown)
        if key not in known:
            known[key] = _compile_builder(self, append_unknown)
        return known[key]

    Rule._compile_builder = remembered  # type: ignore[method-assign]
    Flask.jinja_options = {"bytecode_cache": _Templates()}


class _Templates(BytecodeCache):
    """Compiled templates by their file and what it held."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._known[bucket.key, bucket.checksum] = bucket.code
