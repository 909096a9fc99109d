"""What the repository must and must not contain."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Written in pieces, so that this file does not contain what it looks for.
FORBIDDEN = {
    "an address of a package registry": "|".join(
        (
            "py" + r"pi\.org",
            "python" + r"hosted\.org",
            "registry" + r"\.npmjs",
            "--(extra-)?index-" + "url [a-z]",
        )
    ),
    "a path of somebody's machine": "|".join(
        ("/ho" + "me/[a-z]", "/ro" + r"ot\b", "/wo" + "rk/", "/Us" + "ers/")
    ),
    "a real-looking live secret": "|".join(("sk_li" + "ve_[0-9a-zA-Z]{24}", "rk_li" + "ve_[0-9a-zA-Z]{24}")),
    "a note left behind": "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X:", "placeholder " + "docstring")),
}
NOT_OURS = ("static/vendor/", "tests/contract/openapi", "requirements/", "licenzy/stripe_sandbox/static/")


def tracked() -> list[Path]:
    """Every file that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def texts() -> list[tuple[str, str]]:
    found = []
    for path in tracked():
        name = str(path.relative_to(ROOT))
        if name.startswith(NOT_OURS):
            continue
        try:
            found.append((name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    assert len(found) > 50
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_contains(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what])
    hits = [f"{name}: {match.group(0)}" for name, text in texts() if (match := pattern.search(text))]
    assert hits == []


@pytest.mark.parametrize(("name", "at_least"), [("run.txt", 30), ("build.txt", 5), ("dev.txt", 30)])
def test_requirements_are_hashed_and_name_no_index(name: str, at_least: int) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert not re.search(r"^\s*--(?!hash)", text, re.MULTILINE), "an option line other than a hash"
    pins = re.findall(r"^[a-z0-9][^\n]*(?:\n    --hash[^\n]*)+", text, re.MULTILINE)
    names = re.findall(r"^([a-z0-9][\w.-]*)==", text, re.MULTILINE)
    assert len(names) == len(pins) >= at_least


@pytest.mark.parametrize("name", ["run.txt", "build.txt"])
def test_what_runs_and_builds_is_pinned_alike_for_the_tests(name: str) -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return set(re.findall(r"^([a-z0-9][\w.-]*==[^\s]+)", text, re.MULTILINE))

    assert pins(name) <= pins("dev.txt")


def test_make_installs_nothing_without_a_hash() -> None:
    installs = re.findall(r"^\t@\$\(PIP_INSTALL\) (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    own = "--no-deps --no-build-isolation --editable ."
    assert own in installs
    assert [each for each in installs if each != own and not each.startswith("--require-hashes -r ")] == []


def test_readme_names_the_two_commands_in_its_first_screen() -> None:
    first_screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:30])
    assert "make run" in first_screen
    assert "make test" in first_screen
    assert "127.0.0.1:8000" in first_screen


def test_no_file_of_ours_is_longer_than_a_reader_bears() -> None:
    long = {
        name: lines
        for name, text in texts()
        if name.endswith(".py")
        and (lines := text.count("\n")) > (600 if name.startswith("tests/") else 400)
        and not name.startswith("licenzy/db/migrations")
    }
    assert long == {}


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|mailto:|#|/)([^)\s]+)\)", path.read_text(encoding="utf-8")):
            file, _, anchor = target.partition("#")
            linked = (path.parent / file).resolve()
            if not linked.exists() or (anchor and f"#{anchor}" not in anchors(linked)):
                broken.append(f"{path.name}: {target}")
    assert broken == []


def anchors(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | {f"#{anchor}" for anchor in re.findall(r'<a id="([\w-]+)"></a>', text)}
