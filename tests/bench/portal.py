"""People on the product's pages while it is measured: some read, and some sign in."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

import httpx

EMAIL, PASSWORD = "owner@example.com", "correct horse battery staple 9"
READERS, SIGNING_IN = 8, 4
_LATE = 10.0
"""Seconds after which a page counts as not answered."""


@contextmanager
def busy_portal(port: int) -> Iterator[None]:
    """Eight people read pages, each one of their own, and four sign in, all again and again."""
    with _client(port) as client:
        _sign_in(client)
        paths, cookies = _pages(client), dict(client.cookies)
    stop = threading.Event()
    done = {"read": 0, "signed in": 0}
    trouble: list[str] = []

    def again(what: str, act: Callable[[httpx.Client], int], client: httpx.Client) -> None:
        with client:
            while not stop.is_set():
                try:
                    status = act(client)
                except (httpx.HTTPError, AssertionError) as error:
                    trouble.append(f"{what}: {error!r}")
                    stop.wait(0.1)
                    continue
                if status == 503:  # A server may say that it has too much to do.
                    stop.wait(0.1)
                else:
                    done[what] += 1

    def reading(path: str) -> Callable[[httpx.Client], int]:
        def read(client: httpx.Client) -> int:
            status = client.get(path).status_code
            assert status in {200, 503}, f"{path} was answered {status}"
            return status

        return read

    def sign_in_anew(client: httpx.Client) -> int:
        client.cookies.clear()
        return _sign_in(client)

    people = [
        threading.Thread(
            target=again,
            args=("read", reading(paths[number % len(paths)]), _client(port, cookies)),
        )
        for number in range(READERS)
    ]
    people += [
        threading.Thread(target=again, args=("signed in", sign_in_anew, _client(port)))
        for _ in range(SIGNING_IN)
    ]
    for each in people:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in people:
            each.join()
    # A version may count sign-ins under way as guesses, and refuse one now and then.
    assert len(trouble) * 10 <= sum(done.values()), (
        f"{trouble[0]}, and {len(trouble)} such; all was well {done}"
    )
    assert min(done.values()) >= SIGNING_IN, f"hardly anybody was at the portal: {done}"


def _pages(client: httpx.Client) -> list[str]:
    """Pages that the start page links to, by what they are called there."""
    home = client.get("/", follow_redirects=True)
    assert home.status_code == 200, f"the start page was answered {home.status_code}"
    links = dict.fromkeys(re.findall(r'href="(/projects/[^"#?]+)"', home.text))
    pages = list(islice((link for link in links if _is_page(client.get(link))), READERS))
    assert pages, "the start page links to no page of the project's"
    return pages


def _is_page(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")


def _sign_in(client: httpx.Client) -> int:
    form = client.get("/sign-in")
    if form.status_code == 503:
        return 503
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form.text)
    assert token is not None, f"no form to sign in with, but {form.status_code}"
    answer = client.post("/sign-in", data={"csrf_token": token[1], "email": EMAIL, "password": PASSWORD})
    assert answer.status_code in {302, 303, 503}, f"signing in was answered {answer.status_code}"
    return answer.status_code


def _client(port: int, cookies: dict[str, str] | None = None) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", cookies=cookies, timeout=_LATE, trust_env=False)
