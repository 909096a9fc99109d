"""Between the library and the sandbox: everything said is noted, and held against Stripe's description."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.contract.description import wrong_with_answer, wrong_with_event, wrong_with_request


@dataclass
class RecordedCall:
    method: str
    path: str
    target: str
    asked: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    answered: Any = None


class RecordedTraffic:
    """A WSGI application around another one that notes what passes under `/v1`."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.calls: list[RecordedCall] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/v1"):
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        path = environ["PATH_INFO"]
        target = path + (f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else "")
        call = RecordedCall(environ["REQUEST_METHOD"], path, target, body.decode("utf-8", "replace"))

        def noting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            call.status, call.headers = int(status.split()[0]), dict(headers)
            return start_response(status, headers, *rest)

        answer = b"".join(self._app(environ, noting))
        try:
            call.answered = json.loads(answer)
        except ValueError:
            call.answered = None  # a connection dropped on purpose
        self.calls.append(call)
        return [answer]

    def complaints(self) -> list[str]:
        """What the description has to say against all that was exchanged."""
        found = []
        for e in self.calls:
            if not isinstance(e.answered, dict):
                continue
            said = f"{e.method} {e.path}"
            if e.status == 200:
                wrong = wrong_with_request(e.method, e.target, e.asked)
                wrong += wrong_with_answer(e.method, e.path, e.answered) + _of_events(e.answered)
            else:
                wrong = _of_refusal(e)
            found += [f"{said}: {each}" for each in wrong]
        return found


def _of_events(answered: Any) -> list[str]:
    listed = answered["data"] if answered.get("object") == "list" else [answered]
    return [wrong for each in listed if each.get("object") == "event" for wrong in wrong_with_event(each)]


def _of_refusal(call: RecordedCall) -> list[str]:
    error = call.answered.get("error")
    if set(call.answered) != {"error"} or not isinstance(error, dict):
        return ["a refusal must be {error: {…}}"]
    odd = set(error) - {"type", "message", "code", "param", "doc_url"}
    if odd or not error.get("type") or not error.get("message"):
        return [f"the error is not in Stripe's shape: {error}"]
    return [] if call.headers.get("Request-Id", "").startswith("req_") else ["no Request-Id"]
