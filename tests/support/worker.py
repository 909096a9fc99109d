"""The worker's jobs done by hand, where a test says when."""

from __future__ import annotations

from licenzy.runtime import Runtime
from licenzy.worker.loop import JOBS, run_job


def work_once(parts: Runtime) -> int:
    """One round of every job; how much was done."""
    return sum(run_job(parts, name) for name in JOBS)
