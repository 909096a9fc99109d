"""DOOR: the loop that takes up what a request could not finish."""

from licenzy.worker.loop import run_worker

__all__ = ["run_worker"]
