"""The gates that the guide and the portal show: no answer, a late one and a wrong one mean no access."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask, get_template_attribute

from tests.support.threads import join

DOCS = Path(__file__).resolve().parents[2] / "docs"
PATIENCE = "0.3"
"""Seconds that the gates wait here, in place of the three that they are shown with."""

WRONG_ANSWERS = {
    "an error": b'HTTP/1.1 500 Internal Server Error\r\nContent-Length: 16\r\n\r\n{"allowed":true}',
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
    "another type": b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"allowed":"true"}',
    "a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    "no field": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "half of it": b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"allowed":true',
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "nothing at all": b"",
}
YES = b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{"allowed":true}'


@contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """The address of a server that answers each call with these bytes; that never answers with None."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                accepted.append(line)
                if answer is not None:
                    line.settimeout(2)
                    line.recv(65536)
                    line.sendall(answer)
                    line.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        join(thread, seconds=5)
        for line in accepted:
            line.close()


def block_of(page: str, language: str, name: str) -> str:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    (found,) = [b for b in re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.M) if name in b]
    return str(found)


def snippet(app: Flask, macro: str) -> str:
    with app.test_request_context():
        return str(get_template_attribute("api_keys/_snippets.html", macro)("ADDRESS")).strip()


def python_gates(app: Flask) -> dict[str, str]:
    shown = snippet(app, "python_check").replace('"ADDRESS/', 'os.environ["LICENZY_URL"] + "/')
    return {
        "connect-stripe": block_of("connect-stripe", "python", "def has_access"),
        "gate-a-route": block_of("gate-a-route", "python", "def has_access") + '\nprint(has_access("u"))\n',
        "portal": shown,
    }


def node_gates(app: Flask) -> dict[str, str]:
    whole = block_of("gate-a-route", "javascript", "function hasAccess")
    # Express itself is not installed here: the two functions that ask Licenzy are taken out of the file.
    start, end = whole.index("async function callLicenzy"), whole.index("const currentUserId")
    gate = "const { LICENZY_URL, LICENZY_API_KEY } = process.env;\n" + whole[start:end]
    shown = snippet(app, "node_check").replace('"ADDRESS/', 'process.env.LICENZY_URL + "/')
    return {"gate-a-route": f'{gate}\nhasAccess("u").then(console.log);\n', "portal": shown}


def said(command: list[str], url: str) -> str:
    environ = os.environ | {"LICENZY_URL": url, "LICENZY_API_KEY": "lz_test_x"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().lower()


def command_of(app: Flask, language: str, gate: str, folder: Path) -> list[str]:
    if language == "python":
        text = python_gates(app)[gate]
        assert "timeout=3" in text
        path = folder / "gate.py"
        path.write_text(text.replace("timeout=3", f"timeout={PATIENCE}"))
        return [sys.executable, str(path)]
    if shutil.which("node") is None:
        pytest.skip("the gates for Node need `node`: `apt-get install nodejs`")
    text = node_gates(app)[gate]
    assert "3000" in text
    path = folder / "gate.mjs"
    path.write_text(text.replace("3000", str(int(float(PATIENCE) * 1000))))
    return ["node", str(path)]


GATES = [
    ("python", "connect-stripe"),
    ("python", "gate-a-route"),
    ("python", "portal"),
    ("node", "gate-a-route"),
    ("node", "portal"),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("language", "gate"), GATES)
def test_only_a_clear_yes_opens_it(app: Flask, tmp_path: Path, language: str, gate: str) -> None:
    command = command_of(app, language, gate, tmp_path)
    with answering(YES) as url:
        assert said(command, url) == "true"
    with answering(None) as url:
        assert said(command, url) == "false", "it never answers"
    assert said(command, url) == "false", "nobody listens"
    for what, answer in WRONG_ANSWERS.items():
        with answering(answer) as url:
            assert said(command, url) == "false", what
