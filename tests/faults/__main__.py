"""`python -m tests.faults --count 100`: crash the product that often, and tell what was found as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

from licenzy.factory import create_app
from tests.conftest import make_settings
from tests.faults.campaign import BEGINNING, Campaign
from tests.faults.places import Place, PostgresPlace, SqlitePlace
from tests.faults.planted import MISTAKES
from tests.faults.processes import Parent
from tests.faults.shop import Story, open_shop, stories
from tests.support import network
from tests.support.clock import StandingClock


def main() -> None:
    """Run one campaign in this process, which is the warm parent of all that die."""
    asked = _asked()
    network.refuse_the_world()
    memory = Path("/dev/shm")
    # What a dead process leaves behind is the same in memory, and putting it back is quicker.
    with tempfile.TemporaryDirectory(prefix="lzfaults-", dir=memory if memory.is_dir() else None) as folder:
        place: Place = PostgresPlace(asked.postgres) if asked.postgres else SqlitePlace(Path(folder))
        try:
            campaign = _prepared(place, Path(folder), asked)
            report = campaign.run(asked.count)
        finally:
            place.drop()
    json.dump(dataclasses.asdict(report), sys.stdout)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", default="7")
    parser.add_argument("--postgres", help="address of an empty, migrated database; else SQLite")
    parser.add_argument("--mistake", choices=sorted(MISTAKES))
    parser.add_argument("--story", help="only stories whose name contains this")
    return parser.parse_args()


def _prepared(place: Place, folder: Path, asked: argparse.Namespace) -> Campaign:
    clock = StandingClock()
    app = create_app(make_settings(folder, place.url), clock=clock)
    parts = app.extensions["licenzy"]
    told: list[Story] = []
    addresses: list[str] = []

    def fill() -> None:
        with parts.database.write() as db:
            shop = open_shop(db, parts.seal)
            told.extend(stories(shop))
            addresses.append(shop.address)
        parts.database.engine.dispose()

    fill()
    place.keep(BEGINNING)
    parent = Parent(app, clock, place, addresses[0])
    told = [story for story in told if asked.story is None or asked.story in story.name]
    parent.warm_up([[*story.before, *story.steps] for story in told], BEGINNING)
    plant = MISTAKES[asked.mistake] if asked.mistake else None
    return Campaign(parent, told, seed=asked.seed, plant=plant)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    main()
