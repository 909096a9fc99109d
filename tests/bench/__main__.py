"""`make bench`: the calls that merchants make most against a constant Flask route, in one run.

All are served by Granian with equal workers, the yardsticks by its WSGI with four threads. The rounds
alternate strictly; subjects are drawn uniformly, half of them are allowed, and every answer is held against
the known truth. What was found is printed, and written to docs/performance.md.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psycopg

from tests.bench.load import Round, Target, hanging_checkouts, load, verify
from tests.bench.memory import cpu_seconds, memory_of, own_memory_of, parent_of, peak_of, workers_of
from tests.bench.report import Finding, document
from tests.bench.served import THREADS, WORKERS, Served, point_queries, serve_app, serve_product
from tests.bench.shop import Shop
from tests.support.databases import durable_postgres
from tests.support.silence import silent_server

SIZES = [int(size) for size in os.environ.get("BENCH_SIZES", "1000,100000,1000000").split(",")]
MAIN_SIZE = sorted(SIZES)[len(SIZES) // 2]
DATABASES = os.environ.get("BENCH_DATABASES", "SQLite,Postgres").split(",")
CALLS = os.environ.get("BENCH_CALLS", "check,consume,hot,webhook").split(",")
# The rounds of one server differ by a third and more: many short ones tell more than a few long ones.
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
LEAK_REQUESTS = int(os.environ.get("BENCH_LEAK_REQUESTS", "200000"))
NOBODY = Shop("lz_test_none", "con_none", "price_none", 1000)

_TITLES = {
    "check": "`access/check`, {size:,} subjects",
    "consume": "`usage/consume`, spread over 5,000 subjects",
    "hot": "`usage/consume`, all from one subject",
    "webhook": "webhook receipt (a renewed subscription)",
}


@dataclass(slots=True)
class Case:
    """One row of the table: what is called, where, and every round of it."""

    title: str
    database: str
    target: Target
    roots: list[int]
    """Whose processor time the calls take: the server's and, where there is one, the database's."""
    rounds: list[Round] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def run(self) -> None:
        before = sum(cpu_seconds(root) for root in self.roots)
        done = load(self.target, seconds=SECONDS)
        spent = sum(cpu_seconds(root) for root in self.roots) - before
        assert done.wrong == 0, f"{self.title}: {done.wrong} answers were wrong, such as: {done.example}"
        assert done.right > 20, f"{self.title}: hardly anything was answered"
        self.rounds.append(done)
        self.cpu.append(1e6 * spent / done.right)

    def finding(self) -> Finding:
        return Finding(self.title, self.database, self.rounds, median(self.cpu))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="licenzy-bench-") as folder, ExitStack() as running:
        stripe, _came = running.enter_context(silent_server())
        yardstick = _yardsticks(running, Path(folder))
        cases, main_server, statements = list(yardstick), None, {}
        for database in DATABASES:
            servers = list(_servers(running, Path(folder), database, stripe))
            cases += [case for server, roots in servers for case in _cases(server, database, roots)]
            at_main = next(server for server, _ in servers if server.shop.subjects == MAIN_SIZE)
            statements[database] = point_queries(at_main)
            main_server = main_server or at_main
        assert main_server is not None
        for case in cases:
            if case.target.call == "check":
                verify(case.target, calls=500)
        # What an event leaves to the worker would be done at the cost of whatever is measured next.
        webhooks = [case for case in cases if case.target.call == "webhook"]
        _alternate([case for case in cases if case not in webhooks])
        _alternate(webhooks)
        memory, workers = memory_of(main_server.pid), peak_of(workers_of(main_server.pid))
        growth = _growth(main_server)
        findings = [case.finding() for case in cases]
        findings.append(_while_stripe_hangs(main_server))
    document(findings, statements, memory, workers, growth)


def _alternate(cases: list[Case]) -> None:
    for number in range(ROUNDS + 1):
        for case in cases:
            case.run()
            if number == 0:  # The first round warms up.
                case.rounds.clear()
                case.cpu.clear()


def _yardsticks(running: ExitStack, folder: Path) -> Iterator[Case]:
    for name, title in (
        ("constant", "a constant Flask route, by WSGI"),
        ("bare", "a bare WSGI application"),
        ("bare_rsgi", "a bare RSGI application"),
        ("behind_front", "the constant Flask route behind the front"),
        ("on_the_loop", "a constant answer on the front's loop"),
    ):
        server = running.enter_context(serve_app(name, folder / name, NOBODY))
        yield Case(title, "", Target(server.port, NOBODY, "constant"), [server.pid])


def _servers(
    running: ExitStack, folder: Path, database: str, stripe: str
) -> Iterator[tuple[Served, list[int]]]:
    postgres = running.enter_context(durable_postgres()) if database == "Postgres" else None
    for size in SIZES:
        url = postgres.url(postgres.empty()) if postgres else None
        # What `make run` starts is measured whole once, worker and sandbox included.
        everything = size == MAIN_SIZE and postgres is None
        server = running.enter_context(
            serve_product(folder / f"{database}-{size}", url, stripe, subjects=size, everything=everything)
        )
        yield server, [server.pid, *([_postmaster(url)] if url else [])]


def _cases(server: Served, database: str, roots: list[int]) -> Iterator[Case]:
    size = server.shop.subjects
    for call in CALLS:
        if call == "check" or size == MAIN_SIZE:
            target = Target(server.port, server.shop, call)
            yield Case(_TITLES[call].format(size=size), database, target, roots)
    if size == MAIN_SIZE:
        for name, title, call in (
            ("plain_route", "`access/check` as a plain Flask route", "check"),
            ("statement", "the check's statement behind bare WSGI, with nothing decided", "constant"),
        ):
            beside = server.beside(name)
            yield Case(title, database, Target(beside.port, server.shop, call), [beside.pid, *roots[1:]])


def _while_stripe_hangs(server: Served) -> Finding:
    """Checks while as many checkouts as there are threads wait for a Stripe that does not answer."""
    target = Target(server.port, server.shop)
    with hanging_checkouts(target, at_once=WORKERS * THREADS):
        time.sleep(1)
        case = Case("`access/check` while Stripe hangs", "SQLite", target, [server.pid])
        for _ in range(ROUNDS):
            case.run()
    return case.finding()


def _postmaster(url: str) -> int:
    with psycopg.connect(url) as connection:
        return parent_of(connection.info.backend_pid)


def _growth(server: Served) -> float:
    """By how many MiB the workers grow in 100,000 requests, after they are warm."""
    workers, target = workers_of(server.pid), Target(server.port, server.shop)
    before, answered = own_memory_of(workers), 0
    while answered < LEAK_REQUESTS:
        answered += load(target, seconds=SECONDS).right
    return (own_memory_of(workers) - before) / answered * 100_000


if __name__ == "__main__":
    main()
