"""What Stripe answers, looked at before anybody works with it.

An answer of status 200 may still be none of Stripe's, or lack what a call cannot do without: the page of a
proxy, a list without entries, an address that is a number. Every call goes through the first functions here,
and every value that is taken from an answer through those below. All of them raise `Unreadable`, which
callers of the gateway meet as 502 `stripe_error`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from licenzy.kit.clock import from_unix
from licenzy.stripe_gateway.shapes import is_id, is_name
from licenzy.stripe_gateway.values import LAST_INSTANT, Unreadable

if TYPE_CHECKING:
    import stripe

Json = dict[str, Any]


class ListPage(NamedTuple):
    """A part of one of Stripe's lists."""

    entries: list[Json]
    after: str | None
    """The id that the next page begins after; none on the last one."""
    at: datetime | None = None
    """When it was answered, by Stripe's clock; none where the answer does not say."""


class ObjectRead(NamedTuple):
    """An object of Stripe's, and when it was answered."""

    value: Json
    at: datetime | None
    """By Stripe's clock; none where the answer does not say."""


def json_object(
    client: stripe.StripeClient, method: str, path: str, params: Mapping[str, Any] | None = None
) -> Json:
    """The JSON object that a call is answered with. `params` may hold an `idempotency_key`."""
    return _read(client, method, path, params).value


def _read(
    client: stripe.StripeClient, method: str, path: str, params: Mapping[str, Any] | None
) -> ObjectRead:
    answer = client.raw_request(method, f"/v1/{path}", **(params or {}))
    if not isinstance(answer.data, dict):
        raise Unreadable("it is not a JSON object")
    return ObjectRead(answer.data, _date(answer.headers))


def _date(headers: Mapping[str, str] | None) -> datetime | None:
    """Stripe's own instant of an answer: a clock here may be wrong, or not the account's."""
    stated = next((value for name, value in (headers or {}).items() if name.lower() == "date"), None)
    try:
        date = parsedate_to_datetime(stated) if stated is not None else None
    except ValueError:
        return None
    return date if date is not None and date.tzinfo is not None and date.year > 1970 else None


def one(client: stripe.StripeClient, method: str, path: str, params: Mapping[str, Any] | None = None) -> Json:
    """The same for an object of Stripe's, which has an id."""
    return one_read(client, method, path, params).value


def one_read(
    client: stripe.StripeClient, method: str, path: str, params: Mapping[str, Any] | None = None
) -> ObjectRead:
    """The same with the instant of the answer."""
    answer = _read(client, method, path, params)
    identity(answer.value, "id")
    return answer


def page(
    client: stripe.StripeClient,
    path: str,
    params: Mapping[str, Any],
    *,
    words: Sequence[str] = (),
    after: str | None = None,
) -> ListPage:
    """One page of a list as Stripe wrote it: the library's objects of it take longer than the call.

    `words` names the fields that are one of Stripe's words where they are told.
    """
    more = {"starting_after": after} if after is not None else {}
    answer, at = _read(client, "get", path, {"limit": 100, **params, **more})
    listed = entries(answer, "data")
    for each in listed:
        identity(each, "id")
        part(each, "metadata")
        for word in words:
            optional_name(each, word)
    if not flag(answer, "has_more"):
        return ListPage(listed, None, at)
    if not listed or listed[-1]["id"] == after:
        raise Unreadable("a list does not end")
    return ListPage(listed, listed[-1]["id"], at)


def pages(ask: Callable[[str | None], ListPage]) -> Iterator[ListPage]:
    """Every page of a list, each asked for when it is wanted."""
    after: str | None = None
    while True:
        found = ask(after)
        yield found
        if found.after is None:
            return
        after = found.after


PAGES_KEPT = 50
"""How many pages of a list wait in memory for their turn. A page of 100 events takes about 2 MB."""


def pages_oldest_first(ask: Callable[[str | None], ListPage]) -> Iterator[ListPage]:
    """Every page of a list that begins with the newest, the last one first.

    All but the newest page and the last PAGES_KEPT ones are asked for again when their turn comes: a month of
    a large account would not fit into the memory of a small machine.
    """
    afters: list[str | None] = [None]
    newest = found = ask(None)
    kept = deque([newest], PAGES_KEPT)
    while found.after is not None:
        afters.append(found.after)
        found = ask(found.after)
        kept.append(found)
    dropped = len(afters) - len(kept)
    yield from reversed(kept)
    yield from map(ask, reversed(afters[1:dropped]))
    if dropped:
        yield newest  # Kept, because what has happened meanwhile would push a part of it out of its page.


def identity(obj: Mapping[str, Any], field: str) -> str:
    """An id, which merchants may have chosen themselves."""
    value = obj.get(field)
    if not is_id(value):
        raise _wrong(field)
    return str(value)


def name(obj: Mapping[str, Any], field: str) -> str:
    """An id that Stripe made, or a word of its own, which any database keeps."""
    value = obj.get(field)
    if not is_name(value):
        raise _wrong(field)
    return str(value)


def optional_name(obj: Mapping[str, Any], field: str) -> str | None:
    return name(obj, field) if obj.get(field) is not None else None


def text(obj: Mapping[str, Any], field: str) -> str:
    """Text that any database keeps."""
    value = obj.get(field)
    if not isinstance(value, str) or not value or "\x00" in value or not _is_unicode(value):
        raise _wrong(field)
    return value


def optional_text(obj: Mapping[str, Any], field: str) -> str | None:
    """The same; empty text is none."""
    return text(obj, field) if obj.get(field) not in (None, "") else None


def optional_whole(obj: Mapping[str, Any], field: str) -> int | None:
    value = obj.get(field)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63):
        raise _wrong(field)
    return value


def instant(obj: Mapping[str, Any], field: str) -> datetime:
    """An instant in Unix seconds."""
    value = optional_whole(obj, field)
    if value is None or not 0 <= value <= LAST_INSTANT:
        raise _wrong(field)
    return from_unix(value)


def flag(obj: Mapping[str, Any], field: str) -> bool:
    """Whether it is said to be so."""
    return optional_flag(obj, field) or False


def optional_flag(obj: Mapping[str, Any], field: str) -> bool | None:
    value = obj.get(field)
    if value is not None and not isinstance(value, bool):
        raise _wrong(field)
    return value


def part(obj: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """An object within it; an empty one where it is not there."""
    value = obj.get(field)
    if value is not None and not isinstance(value, dict):
        raise _wrong(field)
    return value or {}


def entries(obj: Mapping[str, Any], field: str) -> list[Json]:
    """The objects of a list."""
    value = obj.get(field)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _wrong(field)
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(field: str) -> Unreadable:
    return Unreadable(f"{field} is missing, or has a wrong type")


def listed(
    client: stripe.StripeClient, path: str, params: Mapping[str, Any], *, most: int | None = None
) -> list[Json]:
    """A list as one call, at most `most` of it."""
    found: list[Json] = []
    for part_of_it in pages(lambda after: page(client, path, params, after=after)):
        found += part_of_it.entries
        if most is not None and len(found) >= most:
            break
    return found[:most]
