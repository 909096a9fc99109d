"""The limit of open files is raised for the connections, or the log says how many there may be."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.installation import ROOT

CODE = """
import resource, sys
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from licenzy.server.processes import connections_that_fit
print(connections_that_fit(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "fit", "says"),
    [
        (256, 2048, 1024, 1024, False),
        (2048, 2048, 1024, 1024, False),
        (256, 1024, 1024, 768, True),
        (256, 256, 1024, 64, True),
    ],
)
def test_there_are_files_for_the_connections(soft: int, hard: int, wanted: int, fit: int, says: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(soft), str(hard), str(wanted)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    accepted, now, most = map(int, done.stdout.split())
    assert (accepted, most) == (fit, hard)
    assert now >= min(fit + 256, hard)
    assert (f"accepts {fit} connections instead of {wanted}" in done.stderr) is says
