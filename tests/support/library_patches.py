"""Replaces internals of libraries, where `LICENZY_TESTS_FAST=1`, by what does the same once for all tests.

Every test has an application of its own. Making it and showing a page cost mostly compiling: Werkzeug
makes expressions and functions of each route, Jinja one of each template, and SQLAlchemy writes each
statement for every engine anew. Reading certificates and the pauses of a library
come again and again, too.

What runs with these is not quite what ships: the tests must pass without them too, and those of the doors
are run without them by `make test`.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from types import CodeType
from typing import Any

import httpx._transports.default as httpx_transport
import stripe
from flask import Flask
from httpx._config import create_ssl_context
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache
from werkzeug.routing import Rule
from whitenoise import WhiteNoise

from tests.support.connection_reuse import reuse_connections
from tests.support.patches import replace

WANTED = os.environ.get("LICENZY_TESTS_FAST") == "1"
_YOUNG = 5_000


def patch_libraries() -> None:
    """From now on this process does such things once, or at once."""
    _compile_routes_once()
    _compile_statements_once()
    _ask_postgres_what_it_is_once()
    reuse_connections()
    _look_at_static_files_once()
    Flask.jinja_options = {"bytecode_cache": _Templates()}
    # Tests speak plain HTTP to this machine, and httpx reads all certificates for each client.
    replace(httpx_transport, create_ssl_context=functools.cache(create_ssl_context))
    # How long the library waits before it tries again where nothing listens.
    replace(stripe.HTTPClient, INITIAL_DELAY=0.01, MAX_DELAY=0.01)


def freeze_garbage_collection() -> None:
    """What is there need not be looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    # With each application a test makes more than that many things which live as long as it does.
    gc.set_threshold(_YOUNG)


def _compile_routes_once() -> None:
    compile_route, known = Rule.compile, dict[Any, dict[str, Any]]()

    def compile_once(self: Rule) -> None:
        if self.map is None or self.defaults or self.subdomain or self.host:
            return compile_route(self)  # These are written into it, and few routes have them.
        key = (self.rule, self.merge_slashes, *self.map.converters.items())
        if key in known:
            vars(self).update(known[key])
        else:
            compile_route(self)
            known[key] = {name: vars(self)[name] for name in ("_parts", "_trace", "_converters", "arguments")}
            known[key] |= {"_build": self._build, "_build_unknown": self._build_unknown}
        return None

    Rule.compile = compile_once  # type: ignore[method-assign]


def _compile_statements_once() -> None:
    for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        # A compiled statement is kept for its dialect, and every engine has one: they are all alike.
        replace(
            dialect,
            __eq__=lambda self, other: type(self) is type(other),
            __hash__=lambda self: hash(type(self)),
        )
    make, known = Engine.__init__, LRUCache[Any, Any](5000)

    def make_with_what_is_known(self: Engine, *args: Any, **options: Any) -> None:
        make(self, *args, **options)
        self._compiled_cache = known

    Engine.__init__ = make_with_what_is_known  # type: ignore[method-assign]


def _ask_postgres_what_it_is_once() -> None:
    ask: Callable[[PGDialect_psycopg, Connection], None] = PGDialect_psycopg.initialize
    known: dict[Any, dict[str, Any]] = {}

    def ask_once(self: PGDialect_psycopg, connection: Connection) -> None:
        url = connection.engine.url
        server = (url.host, url.port, url.query.get("host"))
        if server in known:
            vars(self).update(known[server])
            return
        before = dict(vars(self))
        ask(self, connection)
        told = {name: value for name, value in vars(self).items() if before.get(name, self) != value}
        known[server] = {name: value for name, value in told.items() if name != "_type_memos"}

    PGDialect_psycopg.initialize = ask_once  # type: ignore[method-assign]


def _look_at_static_files_once() -> None:
    look, known = WhiteNoise.add_files, dict[Any, dict[str, Any]]()

    def look_once(self: WhiteNoise, root: str, prefix: str | None = None) -> None:
        key = (root, prefix, self.max_age)
        if key not in known:
            look(self, root, prefix)
            known[key] = self.files
        self.files = known[key]

    WhiteNoise.add_files = look_once


class _Templates(BytecodeCache):
    """Compiled templates by their file and what it held."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        assert bucket.code is not None
        self._known[bucket.key, bucket.checksum] = bucket.code
