"""`make bench`: access checks against a constant Flask route, on the same server with the same settings.

Both are served by Granian with equal workers and threads. The rounds alternate strictly, half of the
subjects are allowed, subjects are drawn uniformly, and every answer is held against the known truth. The
result is printed, and written to docs/performance.md.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from tests.bench.load import CONNECTIONS, Round, Target, generator, load, verify
from tests.bench.memory import Memory, memory_of
from tests.bench.subjects import fill
from tests.support.ports import answers, free_port_pair, wait_until

SUBJECTS = int(os.environ.get("BENCH_SUBJECTS", "100000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "2"))
THREADS = int(os.environ.get("BENCH_THREADS", "4"))

_DOC = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that one run of the bench found out."""

    constant: list[Round]
    check: list[Round]
    idle: Memory
    loaded: Memory

    @property
    def ratio(self) -> float:
        return median(r.per_second for r in self.check) / median(r.per_second for r in self.constant)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="licenzy-bench-") as folder:
        measured = measure(Path(folder))
    table = report(measured)
    print(table)
    text = _DOC.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _DOC.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")


def measure(folder: Path) -> Measured:
    """Serve both, alternate between them, and look at the memory of everything `make run` starts."""
    environ = _environ(folder / "product")
    runtime = make_runtime(load_settings(environ))
    key = fill(runtime, subjects=SUBJECTS)
    runtime.database.engine.dispose()
    product = Target(int(environ["LICENZY_PORT"]), key, SUBJECTS, "parity")
    yardstick_environ = _environ(folder / "constant")
    yardstick = Target(int(yardstick_environ["LICENZY_PORT"]), key, SUBJECTS, "constant")
    with (
        _running(["-m", "licenzy", "serve"], environ) as served,
        _running(["-m", "tests.bench.constant"], yardstick_environ),
    ):
        verify(product, calls=2000)
        for target in (yardstick, product):
            load(target, seconds=2)
        idle = memory_of(served.pid)
        pairs = [(_round(yardstick), _round(product)) for _ in range(ROUNDS)]
        loaded = memory_of(served.pid)
    return Measured([pair[0] for pair in pairs], [pair[1] for pair in pairs], idle, loaded)


def report(measured: Measured) -> str:
    """The findings as Markdown."""
    right = sum(r.right for r in measured.check)
    yes = sum(r.yes for r in measured.check)
    loaded = measured.loaded
    return "\n".join(
        [
            f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {_commit()}, on {_machine()}: "
            f"Python {platform.python_version()}, Flask {version('flask')}, Granian {version('granian')} "
            f"with {WORKERS} workers of {THREADS} threads, SQLite with {SUBJECTS:,} subjects; load by "
            f"{generator()} with {CONNECTIONS} connections on the same machine, {ROUNDS} rounds of "
            f"{SECONDS:g} s each, alternating.",
            "",
            "| route | requests/s (median) | lowest and highest round | p50 ms | p99 ms |",
            "|---|---|---|---|---|",
            _line("a constant Flask route", measured.constant),
            _line("`POST /v1/access/check`", measured.check),
            "",
            f"Ratio: **{measured.ratio:.2f}**. All {right:,} answers of the check were right "
            f"({yes / right:.1%} of them yes).",
            "",
            f"Memory of everything that `make run` starts ({loaded.processes} processes): "
            f"{loaded.pss:.0f} MiB after the load with shared pages counted once; "
            f"**{loaded.peak:.0f} MiB** when each process's own peak is added up.",
        ]
    )


def _line(name: str, rounds: list[Round]) -> str:
    rates = [r.per_second for r in rounds]
    p50, p99 = median(r.p50_ms for r in rounds), median(r.p99_ms for r in rounds)
    return (
        f"| {name} | {median(rates):,.0f} | {min(rates):,.0f} – {max(rates):,.0f} | {p50:.1f} | {p99:.1f} |"
    )


def _round(target: Target) -> Round:
    done = load(target, seconds=SECONDS)
    assert done.wrong == 0, f"{done.wrong} answers were wrong or missing, such as: {done.example}"
    assert done.right > 100, "hardly anything was answered"
    return done


def _environ(instance: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
    return {
        **kept,
        "LICENZY_INSTANCE": str(instance),
        "LICENZY_PORT": str(free_port_pair()),
        "LICENZY_WORKERS": str(WORKERS),
        "LICENZY_THREADS": str(THREADS),
        # One key stands for many merchants here; the limiter runs, it only never says no.
        "LICENZY_RATE_LIMIT": "1000000",
    }


@contextmanager
def _running(arguments: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments], env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(int(environ["LICENZY_PORT"])), seconds=30, what="the server listens")
        yield process
    finally:
        process.terminate()
        process.wait(12)


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "(none)"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores of {model or platform.machine()}"


if __name__ == "__main__":
    main()
