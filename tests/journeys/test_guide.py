"""The guide, run as it is written: every block of shell and Python in order, each answer as promised."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from licenzy.alignment.modes import Mode
from licenzy.portal.docs.renderer import DEFAULT_ADDRESS
from tests.conftest import LiveServer
from tests.journeys.test_newcomer_over_http import set_up
from tests.support.cast import make_key
from tests.support.portal_person import PortalPerson

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "connect-stripe.md"
ANCHORS = ("connect-stripe", "webhook", "products", "api-key", "first-purchase", "mistakes", "check-the-mode")
ANSWERS = {"json", "text", "error"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the guide: its language and text."""

    language: str
    text: str


def blocks() -> list[Block]:
    text = GUIDE.read_text(encoding="utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def test_the_anchors_that_pages_link_to_stand() -> None:
    headings = re.findall(r"^#+ (.+)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    slugs = {re.sub(r"[^\w]+", "-", heading.lower()).strip("-") for heading in headings}
    assert set(ANCHORS) <= slugs


@pytest.mark.slow
def test_every_step_does_what_it_says(live_server: LiveServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("the guide's blocks need curl and bash: `apt-get install curl`")
    with PortalPerson(live_server.url) as person:
        project_id, key = set_up(live_server, person)
    with live_server.runtime.database.write() as db:
        _row, live_key = make_key(db, project_id=project_id, mode=Mode.LIVE, now=live_server.runtime.clock())
    shell = _Shell(tmp_path, live_server.url, key, live_key)
    written = blocks()
    ran = 0
    for block, following in zip(written, [*written[1:], None], strict=True):
        if block.language in ANSWERS:
            continue
        said = shell.run(block)
        ran += 1
        if following is not None and following.language in ANSWERS:
            _compare(said, following)
    assert ran >= 9


class _Shell:
    """Runs blocks one after the other; what one block sets, the next one sees."""

    def __init__(self, folder: Path, url: str, key: str, live_key: str) -> None:
        self._folder = folder
        self._filled_in = {DEFAULT_ADDRESS: url, "lz_test_…": key}
        self._before = f"set -euo pipefail\nexport LICENZY_LIVE_API_KEY={live_key}\n"

    def run(self, block: Block) -> str:
        text = block.text
        for written, real in self._filled_in.items():
            text = text.replace(written, real)
        if block.language == "python":
            (self._folder / "block.py").write_text(text)
            return self._bash(f"{self._before}\n{sys.executable} block.py")
        assert block.language == "bash", f"a block in {block.language} is not run by anything"
        said = self._bash(f"{self._before}\n{text}")
        # Only what sets variables is kept for the next block; calls are not made twice.
        settings = re.findall(r"^(?:export )?[A-Z_]+=\S.*$", text, re.MULTILINE)
        self._before += "".join(f"{line}\n" for line in settings)
        return said

    def _bash(self, script: str) -> str:
        done = subprocess.run(
            ["bash", "-c", script], cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def _compare(said: str, promised: Block) -> None:
    if promised.language == "error":
        assert json.loads(said)["error"] == promised.text.strip()
    elif promised.language == "json":
        assert json.loads(said) == json.loads(promised.text)
    else:
        assert said.strip().lower() == promised.text.strip().lower()
