"""`make bench`: the calls that merchants make most, of this version and an old one, in one run.

Both are started as they ship and measured over HTTP, beside a constant Flask route. The rounds alternate
strictly; subjects are drawn uniformly, half of them are allowed, and every answer is held against the known
truth. What was found is printed, and written to docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from tests.bench.apps import has_front
from tests.bench.cases import Case, alternate, alternate_to_the_end, warm_up
from tests.bench.checkouts import hanging_checkouts
from tests.bench.installed import Served, serve_all, serve_app
from tests.bench.load import Target, load, verify
from tests.bench.memory import memory_of, own_memory_of, peak_of, workers_of
from tests.bench.plan import HELP, Plan, plan_of
from tests.bench.portal import busy_portal
from tests.bench.report import Footprint, Found, document
from tests.bench.versions import Version, check_out, commit_of, this_version
from tests.support.silence import silent_server

_SHARES = 3
"""Blocks into which the rounds of what is disturbed are parted: a disturbance takes long to begin and end."""
_BEGINS = 1.0
"""Seconds that a disturbance has to be under way."""

Disturbance = Callable[[Served], AbstractContextManager[None]]
_DISTURBANCES: dict[str, Disturbance] = {
    "check while Stripe hangs": lambda server: hanging_checkouts(server.port, server.shop),
    "check while the portal is busy": lambda server: busy_portal(server.port),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    plan = plan_of()
    with tempfile.TemporaryDirectory(prefix="licenzy-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres refuses to run as root and then runs as another user.
        # Where the package that starts Postgres keeps its lock, for as long as this process lives.
        (folder / "runtime").mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "runtime"))
        found = _Bench(plan, folder, list(_versions(plan, folder))).run()
    document(found, is_written=plan.is_written)


def _versions(plan: Plan, folder: Path) -> Iterator[Version]:
    if commit := commit_of(plan.old):
        yield check_out(commit, folder / "old-version")
    elif plan.old:
        print(f"{plan.old} is no commit of this repository, so this version alone is measured.")
    yield this_version()


class _Bench:
    """One run of the bench, and what it has found so far."""

    def __init__(self, plan: Plan, folder: Path, versions: Sequence[Version]) -> None:
        self._plan = plan
        self._folder = folder
        self._versions = versions
        self._found = Found({each.name: each.commit for each in versions})

    def run(self) -> Found:
        with ExitStack() as running:
            stripe, _came = running.enter_context(silent_server())
            constant = running.enter_context(serve_app("constant", self._folder / "constant"))
            for database in self._plan.databases:
                for size in self._plan.sizes:
                    self._report(f"{database}, {size:,} subjects: making the rows")
                    with serve_all(
                        self._versions,
                        self._folder / f"{database}-{size}",
                        database,
                        stripe,
                        subjects=size,
                        everything=size == self._plan.main_size,
                    ) as servers:
                        self._report(f"{database}, {size:,} subjects: measuring")
                        self._measure(constant, servers, database, size)
        return self._found

    def _measure(self, constant: Served, servers: Sequence[Served], database: str, size: int) -> None:
        """All that is called on one database with so many subjects."""
        plan, is_main = self._plan, size == self._plan.main_size
        for server in servers:
            verify(Target(server.port, server.shop), calls=500)
        with ExitStack() as running:
            cases = [_case("constant", "constant", database, constant, size)]
            if is_main and database == plan.databases[0]:
                cases += self._compared(running, database, size)
                if "healthz" in plan.calls:
                    cases += [_case("healthz", "healthz", database, each, size) for each in servers]
            # Only this version sells plans with included units.
            ours = [each for each in servers if each.version == this_version().name]
            for call in ("plan", "window"):
                if call in plan.calls and is_main:
                    cases += [_case(call, call, database, each, size) for each in ours]
            for call in ("check", "consume", "hot"):
                if call in plan.calls and (is_main or call == "check"):
                    cases += [_case(call, call, database, each, size) for each in servers]
            warm_up(cases, seconds=plan.seconds)
            alternate(cases, rounds=plan.rounds, seconds=plan.seconds)
            self._found.cases += cases
        if is_main and "webhook" in plan.calls:
            webhooks = [_case("webhook", "webhook", database, each, size) for each in servers]
            warm_up(webhooks, seconds=plan.seconds)
            alternate_to_the_end(webhooks, rounds=plan.rounds, seconds=plan.seconds)
            self._found.cases += webhooks
        if is_main and database == plan.databases[0]:
            self._found.footprints = {each.version: self._footprint(each) for each in servers}
        if is_main and "disturbed" in plan.calls:
            for name, disturbance in _DISTURBANCES.items():
                self._found.cases += self._disturbed(name, disturbance, servers, database, size)

    def _compared(self, running: ExitStack, database: str, size: int) -> Iterator[Case]:
        """What is served beside the product to compare it with."""
        yield _case(
            "no_op",
            "constant",
            database,
            running.enter_context(serve_app("no_op", self._folder / "no_op")),
            size,
        )
        if has_front():
            server = running.enter_context(serve_app("behind_front", self._folder / "behind_front"))
            yield _case("behind_front", "constant", database, server, size)

    def _disturbed(
        self, name: str, disturbance: Disturbance, servers: Sequence[Served], database: str, size: int
    ) -> list[Case]:
        """Checks while something else goes on at the same server."""
        self._report(f"{database}, {size:,} subjects: {name}")
        cases = [_case(name, "check", database, each, size, is_disturbed=True) for each in servers]
        shares = min(_SHARES, self._plan.rounds)
        for share in range(shares):
            rounds = (self._plan.rounds + share) // shares
            for server, case in zip(servers, cases, strict=True):
                with disturbance(server):
                    time.sleep(_BEGINS)
                    alternate([case], rounds=rounds, seconds=self._plan.seconds)
        return cases

    def _footprint(self, server: Served) -> Footprint:
        """The memory of everything after the load, and by how much it grows in more of it."""
        memory, workers = memory_of(server.pid), workers_of(server.pid)
        peak = peak_of(workers)
        if not self._plan.leak_requests:
            return Footprint(memory, peak, None)
        self._report(f"the {server.version} version: growth in {self._plan.leak_requests:,} checks")
        before, answered = own_memory_of(workers), 0
        while answered < self._plan.leak_requests:
            answered += load(Target(server.port, server.shop), seconds=self._plan.seconds).right
        return Footprint(memory, peak, (own_memory_of(workers) - before) / answered * 100_000)

    def _report(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


def _case(
    name: str, call: str, database: str, server: Served, subjects: int, *, is_disturbed: bool = False
) -> Case:
    return Case(
        name=name,
        database=database,
        subjects=subjects,
        version=server.version,
        target=Target(server.port, server.shop, call),
        roots=server.roots,
        is_disturbed=is_disturbed,
    )


if __name__ == "__main__":
    main()
