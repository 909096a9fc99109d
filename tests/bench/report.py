"""What the bench found, as the Markdown that docs/performance.md shows."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from tests.bench.load import CONNECTIONS, Round, generator
from tests.bench.memory import Memory
from tests.bench.served import THREADS, WORKERS

_DOC = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was called on which database, every round of it, and the processor time of a call."""

    title: str
    database: str
    rounds: list[Round]
    cpu_us: float

    @property
    def rate(self) -> float:
        return median(each.per_second for each in self.rounds)


def document(
    findings: list[Finding], statements: dict[str, float], memory: Memory, workers: float, growth: float
) -> None:
    """Print the findings, and put them into the documentation in place of the last ones."""
    table = _report(findings, statements, memory, workers, growth)
    print(table)
    text = _DOC.read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _DOC.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", encoding="utf-8")


def _report(
    findings: list[Finding], statements: dict[str, float], memory: Memory, workers: float, growth: float
) -> str:
    yardstick = findings[0].rate
    rounds = findings[0].rounds
    alone = "; ".join(f"{name} {rate:,.0f}/s" for name, rate in statements.items())
    answered = sum(each.right for finding in findings for each in finding.rounds)
    return "\n".join(
        [
            f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {_commit()}, on {_machine()}: Python "
            f"{platform.python_version()}, Flask {version('flask')}, Granian {version('granian')} with "
            f"{WORKERS} workers of {THREADS} threads; load by {generator()} with {CONNECTIONS} connections "
            f"on the same machine, {len(rounds)} alternating rounds of {rounds[0].seconds:.0f} s each.",
            "",
            "| call | database | of the constant route | requests/s (median) | lowest and highest round "
            "| p50 ms | p99 ms | CPU µs a call |",
            "|---|---|---|---|---|---|---|---|",
            *(_line(finding, yardstick) for finding in findings),
            "",
            f"All {answered:,} answers were right. CPU counts the server's processes and Postgres's. "
            f"The check's statement alone, in one thread of one process: {alone}.",
            "",
            f"Memory of everything that `make run` starts ({memory.processes} processes): "
            f"{memory.pss:.0f} MiB after the load with shared pages counted once; "
            f"**{memory.peak:.0f} MiB** when each process's own peak is added up, of which "
            f"the {WORKERS} workers take {workers:.0f} MiB. Growth: {max(growth, 0):.1f} MiB in "
            "100,000 requests.",
        ]
    )


def _line(finding: Finding, yardstick: float) -> str:
    rates = [each.per_second for each in finding.rounds]
    p50 = median(each.p50_ms for each in finding.rounds)
    p99 = median(each.p99_ms for each in finding.rounds)
    return (
        f"| {finding.title} | {finding.database} | **{finding.rate / yardstick:.2f}** | {finding.rate:,.0f} "
        f"| {min(rates):,.0f} – {max(rates):,.0f} | {p50:.1f} | {p99:.1f} | {finding.cpu_us:,.0f} |"
    )


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "(none)"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{os.cpu_count()} cores of {model or platform.machine()}"
