"""What every test would pay for and none is about: compiling, certificates, and pauses of a library.

Every test has an application of its own. Making it and showing a page cost mostly compiling: Werkzeug
writes a function for each route, which builds its addresses, and Jinja one for each template. Both are
pure functions of their texts.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import Any

import httpx._transports.default as httpx_transport
import stripe
from flask import Flask
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

_compile_builder = Rule._compile_builder


def make_haste() -> None:
    """From now on this process does such things once, or at once."""
    _compile_routes_once()
    Flask.jinja_options = {"bytecode_cache": _Templates()}
    # Tests speak plain HTTP to this machine, and httpx reads all certificates for each client.
    context = functools.cache(httpx_transport.create_ssl_context)
    httpx_transport.create_ssl_context = context
    # How long the library waits before it tries again where nothing listens.
    stripe.HTTPClient.INITIAL_DELAY = stripe.HTTPClient.MAX_DELAY = 0.01


def _compile_routes_once() -> None:
    known: dict[Any, Callable[..., tuple[str, str]]] = {}

    def remembered(self: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        if self.defaults:  # These are written into the function, and few routes have them.
            return _compile_builder(self, append_unknown)
        key = (self.rule, tuple(self._trace), append_unknown)
        if key not in known:
            known[key] = _compile_builder(self, append_unknown)
        return known[key]

    Rule._compile_builder = remembered  # type: ignore[method-assign]


class _Templates(BytecodeCache):
    """Compiled templates by their file and what it held."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._known[bucket.key, bucket.checksum] = bucket.code
