"""What is measured, as the environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.versions import RELEASED

HELP = f"""\
Measure the calls that merchants make most, of this version and of an old one in one run, and write the
result to docs/performance.md. Everything takes about twelve minutes on two cores. The environment says what:

  OLD                  The commit, branch or tag to compare with (default: {RELEASED[:7]}); empty for none.
  BENCH_SIZES          How many subjects there are (default: 1000,100000,1000000). All calls are measured
                       with the middle one of them, checks with each.
  BENCH_DATABASES      Default: SQLite,Postgres.
  BENCH_CALLS          Default: check,healthz,consume,hot,plan,window,webhook,disturbed.
  BENCH_ROUNDS         Rounds of each call of each version, which alternate (default: 8).
  BENCH_SECONDS        Seconds of a round (default: 1).
  BENCH_WORKERS        Processes that answer (default: 2).
  BENCH_LEAK_REQUESTS  Checks in which growth of memory is looked for (default: 200000); 0 for not at all.
  BENCH_WRITE          `no` prints the result without writing it.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how often."""

    old: str
    sizes: tuple[int, ...]
    databases: tuple[str, ...]
    calls: frozenset[str]
    rounds: int
    seconds: float
    leak_requests: int
    is_written: bool

    @property
    def main_size(self) -> int:
        """With how many subjects all calls are measured."""
        return sorted(self.sizes)[len(self.sizes) // 2]


def plan_of(environ: Mapping[str, str] = os.environ) -> Plan:
    """The plan of an environment."""
    calls = environ.get("BENCH_CALLS", "check,healthz,consume,hot,plan,window,webhook,disturbed")
    return Plan(
        old=environ.get("OLD", RELEASED),
        sizes=tuple(int(size) for size in environ.get("BENCH_SIZES", "1000,100000,1000000").split(",")),
        databases=tuple(environ.get("BENCH_DATABASES", "SQLite,Postgres").split(",")),
        calls=frozenset(calls.split(",")),
        # The rounds of one server differ by a third and more: many short ones tell more than a few long ones.
        rounds=int(environ.get("BENCH_ROUNDS", "8")),
        seconds=float(environ.get("BENCH_SECONDS", "1")),
        leak_requests=int(environ.get("BENCH_LEAK_REQUESTS", "200000")),
        is_written=environ.get("BENCH_WRITE", "yes") != "no",
    )
