"""Somebody who uses the portal over HTTP as a browser without JavaScript does."""

from __future__ import annotations

import html
import re
from typing import Any, Self
from urllib.parse import urljoin

import httpx


class PortalPerson:
    """Opens pages, fills in the forms that stand on them, follows redirects."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=20, follow_redirects=True, trust_env=False)
        self.page: httpx.Response

    def open(self, address: str) -> str:
        """Go to a page; gives its text."""
        self.page = self._http.get(address)
        assert self.page.status_code == 200, f"{address} answered {self.page.status_code}"
        return self.page.text

    def submit(self, action_ends_with: str, **fields: Any) -> str:
        """Send the form on this page whose address ends so, with its hidden fields and these."""
        form = self._form(action_ends_with)
        data = {**_values_standing(form.group(2)), **fields}
        action = html.unescape(_attribute(form.group(1), "action") or str(self.page.url))
        self.page = self._http.post(urljoin(str(self.page.url), action), data=data)
        assert self.page.is_success, f"{action} answered {self.page.status_code}: {self.said()}"
        return self.page.text

    def form_fields(self, action_ends_with: str) -> str:
        """The inside of a form on this page, as HTML."""
        return self._form(action_ends_with).group(2)

    def said(self) -> str:
        """The page's words, for messages."""
        body = re.sub(r"<(script|style|svg|head).*?</\1>", " ", self.page.text, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())[:1500]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def _form(self, action_ends_with: str) -> re.Match[str]:
        forms = list(re.finditer(r"<form\b([^>]*)>(.*?)</form>", self.page.text, re.DOTALL))
        here = str(self.page.url)
        for form in forms:
            action = html.unescape(_attribute(form.group(1), "action") or here)
            if action.split("?")[0].endswith(action_ends_with):
                return form
        raise AssertionError(f"no form to …{action_ends_with} on {here}: {self.said()}")


def _values_standing(inside: str) -> dict[str, str]:
    """What a browser would send of a form that nobody touched."""
    values: dict[str, str] = {}
    for tag in re.findall(r"<input\b[^>]*>", inside):
        name, kind = _attribute(tag, "name"), _attribute(tag, "type") or "text"
        unchecked = kind in {"checkbox", "radio"} and not re.search(r"\bchecked\b", tag)
        if name and not unchecked and kind not in {"submit", "button"}:
            values[name] = html.unescape(_attribute(tag, "value") or "")
    for name, options in re.findall(r'<select\b[^>]*\bname="([^"]+)"[^>]*>(.*?)</select>', inside, re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', options) or re.search(
            r'<option value="([^"]*)"', options
        )
        if chosen:
            values[name] = html.unescape(chosen.group(1))
    for name, text in re.findall(
        r'<textarea\b[^>]*\bname="([^"]+)"[^>]*>(.*?)</textarea>', inside, re.DOTALL
    ):
        values[name] = html.unescape(text.strip())
    return values


def _attribute(tag: str, name: str) -> str | None:
    found = re.search(rf'(?<![\w-]){name}="([^"]*)"', tag)
    return found.group(1) if found else None
