"""Coroutines run to their end by tests that are not coroutines themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_on_a_loop(work: Coroutine[Any, Any, T]) -> T:
    """What the coroutine gives, on a loop and in a thread of its own.

    In the thread of the tests the loop of the browser may be running, beside which none can.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loop") as thread:
        return thread.submit(asyncio.run, work).result()
