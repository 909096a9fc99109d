"""Static files as browsers get them: compressed where that was done beforehand, and kept for good."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.installation import ROOT

CODE = """
import gzip
from licenzy import create_app
from licenzy.kit.resources import content_digest
from licenzy.settings import load_settings

client = create_app(load_settings({"LICENZY_INSTANCE": "instance"})).test_client()
for prefix in ("/static", f"/static/{content_digest('static')}"):
    answers = [
        client.get(f"{prefix}/js/app.js", base_url="http://127.0.0.1:8000", headers={"Accept-Encoding": each})
        for each in ("gzip", "identity")
    ]
    small, whole = answers
    assert (small.status_code, small.headers["Content-Encoding"]) == (200, "gzip")
    assert "Content-Encoding" not in whole.headers
    assert gzip.decompress(small.data) == whole.data
    assert {each.headers["Vary"] for each in answers} == {"Accept-Encoding"}
    assert len({each.headers["Content-Type"] for each in answers}) == 1
    assert all(("immutable" in each.headers["Cache-Control"]) is (prefix != "/static") for each in answers)
print(content_digest("static"))
"""


def test_what_was_compressed_is_given_to_who_takes_it_and_changes_no_address(tmp_path: Path) -> None:
    for name in ("licenzy", "static", "templates", "docs"):
        unready = shutil.ignore_patterns("__pycache__", "*.gz")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=unready)
    before = digest(tmp_path)
    compress = [sys.executable, "-m", "whitenoise.compress", "--quiet", "--no-brotli", "static"]
    subprocess.run(compress, cwd=tmp_path, check=True)
    done = subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == before


def digest(tree: Path) -> str:
    code = "from licenzy.kit.resources import content_digest; print(content_digest('static'))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.strip()
