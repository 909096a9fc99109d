"""The functions that merchants copy to verify deliveries, run where their language is at hand.

Python always runs; Node, Go, PHP and Ruby where `node`, `go`, `php` and `ruby` are: the names of the tests
tell which were at hand.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import string
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from licenzy.deliveries.signing import new_secret, signed_headers

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "verify"
BODY = json.dumps({"id": "evt_1", "subject_ref": "käufer 😀"}, ensure_ascii=False, separators=(",", ":"))
Case = tuple[str, str, dict[str, str], bool]

_DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"

_NODE = """
import {{ verify }} from {file};
const [body, secret, headers] = process.argv.slice(2);
verify(Buffer.from(body), JSON.parse(headers), secret);
"""
_PHP = "require {file}; verify($argv[1], json_decode($argv[3], true), $argv[2]);"
_RUBY = "require {file}; verify(ARGV[0], JSON.parse(ARGV[2]), ARGV[1])"
_GO = """package webhooks

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
)

func TestVerify(t *testing.T) {
	named := map[string]string{}
	json.Unmarshal([]byte(os.Getenv("HEADERS")), &named)
	headers := http.Header{}
	for name, value := range named {
		headers.Set(name, value)
	}
	if _, err := Verify([]byte(os.Getenv("BODY")), headers, os.Getenv("SECRET")); err != nil {
		t.Fatal(err)
	}
}
"""


def cases() -> list[Case]:
    """Body, secret, headers, and whether they are good."""
    secret, other, now = new_secret(), new_secret(), datetime.now(UTC)
    good = signed_headers("evt_1", BODY, with_secrets=[secret], now=now)
    two = signed_headers("evt_1", BODY, with_secrets=[other, secret], now=now)
    old = signed_headers("evt_1", BODY, with_secrets=[secret], now=now - timedelta(minutes=6))
    signature = good["webhook-signature"]
    # Its last character stands for four bits of the digest and two that decoders overlook.
    alike = signature[:-2] + _DIGITS[_DIGITS.index(signature[-2]) ^ 1] + "="
    ahead = signed_headers("evt_1", BODY, with_secrets=[secret], now=now + timedelta(minutes=6))
    return [
        (BODY, secret, good, True),
        (BODY, secret, two, True),
        (BODY, other, good, False),
        (BODY.replace("evt_1", "evt_2"), secret, good, False),
        (BODY + " ", secret, good, False),
        (BODY, secret, {**good, "webhook-id": "evt_2"}, False),
        (BODY, secret, {**good, "webhook-signature": "v1,AAAA v2,BBBB nonsense"}, False),
        (BODY, secret, {**good, "webhook-signature": ""}, False),
        (BODY, secret, {**good, "webhook-signature": alike}, False),
        (BODY, secret, {**good, "webhook-signature": signature.rstrip("=")}, False),
        *((BODY, secret, without(good, name), False) for name in good),
        (BODY, secret, old, False),
        (BODY, secret, ahead, False),
    ]


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in headers.items() if each != name}


def ran(command: list[str], **more: Any) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)
    if done.returncode:
        said = done.stderr + done.stdout
        assert "too old or too new" in said or "no good signature" in said, said
        assert "Warning" not in said, said
        assert "Deprecated" not in said, said
    return done.returncode == 0


def by_python(_folder: Path) -> Callable[[str, str, dict[str, str]], bool]:
    spec = importlib.util.spec_from_file_location("verify", FOLDER / "verify.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def verify(body: str, secret: str, headers: dict[str, str]) -> bool:
        try:
            assert module.verify(body.encode(), headers, secret) == json.loads(body)
        except ValueError:
            return False
        return True

    return verify


def by_node(folder: Path) -> Callable[[str, str, dict[str, str]], bool]:
    script = folder / "run.mjs"
    script.write_text(_NODE.format(file=json.dumps(str(FOLDER / "verify.mjs"))))
    return lambda body, secret, headers: ran(["node", str(script), body, secret, json.dumps(headers)])


def by_php(_folder: Path) -> Callable[[str, str, dict[str, str]], bool]:
    code = _PHP.format(file=json.dumps(str(FOLDER / "verify.php")))
    return lambda body, secret, headers: ran(["php", "-r", code, "--", body, secret, json.dumps(headers)])


def by_ruby(_folder: Path) -> Callable[[str, str, dict[str, str]], bool]:
    code = _RUBY.format(file=json.dumps(str(FOLDER / "verify.rb")))
    return lambda body, secret, headers: ran(["ruby", "-e", code, body, secret, json.dumps(headers)])


def by_go(folder: Path) -> Callable[[str, str, dict[str, str]], bool]:
    shutil.copy(FOLDER / "verify.go", folder / "verify.go")
    (folder / "verify_test.go").write_text(_GO)
    (folder / "go.mod").write_text("module webhooks\n\ngo 1.19\n")
    assert ran(["go", "test", "-c", "-o", "verify.test", "."], cwd=folder)
    return lambda body, secret, headers: ran(
        [str(folder / "verify.test")],
        env={**os.environ, "BODY": body, "SECRET": secret, "HEADERS": json.dumps(headers)},
    )


LANGUAGES = {"python": by_python, "node": by_node, "go": by_go, "php": by_php, "ruby": by_ruby}

AT_HAND = [language for language in LANGUAGES if language == "python" or shutil.which(language)]


@pytest.mark.parametrize("language", AT_HAND)
def test_it_takes_what_is_good_and_nothing_else(language: str, tmp_path: Path) -> None:
    verify = LANGUAGES[language](tmp_path)
    for body, secret, headers, good in cases():
        assert verify(body, secret, headers) is good, headers


@pytest.mark.parametrize("end", ["py", "mjs", "go", "php", "rb"])
def test_the_guide_shows_these_very_functions(end: str) -> None:
    code = (FOLDER / f"verify.{end}").read_text(encoding="utf-8").rstrip()
    assert f"\n{code}\n```" in (DOCS / "webhooks.md").read_text(encoding="utf-8")
