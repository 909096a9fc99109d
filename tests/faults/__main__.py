"""`python -m tests.faults --count 100`: crash the product that often, and tell what was found as JSON."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from licenzy.factory import create_app
from tests.conftest import make_settings
from tests.faults import at_the_sandbox
from tests.faults.campaign import BEGINNING, Campaign
from tests.faults.places import Place, PostgresPlace, SqlitePlace
from tests.faults.planted import MISTAKES, dedupe_off
from tests.faults.processes import Parent
from tests.faults.shop import open_shop, stories
from tests.support import network
from tests.support.clock import StandingClock


def main() -> None:
    """Run one campaign in this process, which is the warm parent of all that die."""
    asked = _asked()
    network.refuse_the_world()
    with _place(asked.postgres) as (place, folder), _prepared(place, folder, asked) as campaign:
        report = campaign.run(asked.count)
    json.dump(dataclasses.asdict(report), sys.stdout)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", default="7")
    parser.add_argument("--postgres", help="address of an empty, migrated database; else SQLite")
    parser.add_argument(
        "--sandbox", action="store_true", help="settle at the sandbox over HTTP, and nothing else"
    )
    parser.add_argument("--part", default="1/1", help="1/2: the first of two parts of the first round")
    parser.add_argument("--mistake", choices=sorted(MISTAKES), help="plant this one")
    parser.add_argument("--story", default="", help="only stories whose name contains this")
    return parser.parse_args()


@contextlib.contextmanager
def _place(postgres: str | None) -> Iterator[tuple[Place, Path]]:
    memory = Path("/dev/shm")
    # What a dead process leaves behind is the same in memory, and putting it back is quicker.
    with tempfile.TemporaryDirectory(prefix="lzfaults-", dir=memory if memory.is_dir() else None) as name:
        place: Place = PostgresPlace(postgres) if postgres else SqlitePlace(Path(name))
        yield place, Path(name)


@contextlib.contextmanager
def _prepared(place: Place, folder: Path, asked: argparse.Namespace) -> Iterator[Campaign]:
    settings, clock = make_settings(folder, place.url), StandingClock()
    with contextlib.ExitStack() as stack:
        account = stack.enter_context(at_the_sandbox.sandbox(settings)) if asked.sandbox else None
        app = create_app(settings, clock=clock)
        parts = app.extensions["licenzy"]
        with parts.database.write() as db:
            shop = open_shop(db, parts.secret_box, **(at_the_sandbox.connected(account) if account else {}))
            told = [at_the_sandbox.story(shop, account)] if account else stories(shop)
            address = shop.address
        parts.database.engine.dispose()
        if asked.mistake == dedupe_off.__name__:
            assert isinstance(place, SqlitePlace)
            place.allow_doubles()
        place.keep(BEGINNING)
        told = [story for story in told if asked.story in story.name]
        parent = Parent(app, clock, place, address)
        parent.warm_up([[*story.before, *story.steps] for story in told], BEGINNING)
        number, parts = map(int, asked.part.split("/"))
        plant = MISTAKES.get(asked.mistake or "")
        yield Campaign(parent, told, seed=asked.seed, part=(number, parts), plant=plant)


if __name__ == "__main__":
    main()
