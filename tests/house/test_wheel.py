"""The wheel holds everything an installed copy needs, and nothing that belongs to a checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_pages_static_files_guide_and_migrations_are_inside(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for folder in ("templates", "static", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"licenzy/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "licenzy").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    assert "licenzy/db/migrations/versions/0001_first.py" in names
    assert "licenzy/db/migrations/script.py.mako" in names


def test_nothing_of_the_checkout_is_inside(wheel: zipfile.ZipFile) -> None:
    strange = [
        name
        for name in wheel.namelist()
        if not name.startswith(("licenzy/", "licenzy-")) or "__pycache__" in name
    ]
    assert strange == []


def test_an_editable_installation_brings_the_command_and_a_link_to_the_checkout(tmp_path: Path) -> None:
    """What `make setup` installs: copies of pages would be out of date with the next change."""
    built = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from hatchling.build import build_editable as b; print(b({str(tmp_path)!r}))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with zipfile.ZipFile(tmp_path / built.stdout.strip()) as editable:
        link, *others = sorted(editable.namelist())
        assert editable.read(link).decode() == str(ROOT)
        assert all(".dist-info/" in name for name in others)
        entry = next(name for name in others if name.endswith("entry_points.txt"))
        assert "licenzy = licenzy.__main__:main" in editable.read(entry).decode()


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    entry = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "licenzy = licenzy.__main__:main" in wheel.read(entry).decode()


def test_an_unpacked_wheel_finds_its_pages(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    script = (
        "from licenzy.kit.resources import resource_dir as r\n"
        "for name in ('templates', 'static', 'docs'): print(r(name))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(tmp_path / "site"),
            "PATH": "",
            "LICENZY_INSTANCE": str(tmp_path / "instance"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == [
        str(tmp_path / "site" / "licenzy" / n) for n in ("templates", "static", "docs")
    ]
