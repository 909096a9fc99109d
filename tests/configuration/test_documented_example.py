"""The example of the guide does what the guide says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.configuration.conftest import Shop

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "configuration-file.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_example_is_applied_and_shows_what_the_guide_shows(shop: Shop) -> None:
    file, with_secret = blocks("toml")
    (shown,) = blocks("text")
    planned = shop.apply(file, "--dry-run")
    applied = shop.apply(file)
    expected = shown.replace("prj_…", shop.side.project_id)
    assert (planned.exit_code, applied.exit_code) == (1, 0)
    assert planned.stdout == expected.replace("The changes are made.", "Nothing was changed.")
    created = re.compile(r"^(Created in Stripe: .*|whsec_.*|This secret .*|)\n", re.MULTILINE)
    assert created.sub("", applied.stdout) == expected
    assert not shop.differs(file)
    secret = {"HOOK_SECRET": "whsec_" + "QUFB" * 8}
    replaced = shop.applied(with_secret, env=secret)["endpoints"][0]
    assert (replaced["action"], replaced["secret_changes"]) == ("change", True)
    assert sorted(shop.codes()) == ["CREDITS_500", "FREE", "PRO"]


def test_every_key_of_the_file_is_in_the_guide() -> None:
    from licenzy.configuration.product_fields import FIELDS

    keys = [each.key for each in FIELDS]
    keys += ["code", "kind", "holders", "price", "label", "lookup_key", "stripe_price", "create"]
    keys += ["amount", "interval_count", "url", "types", "description", "secret_env"]
    assert [key for key in keys if f"`{key}`" not in GUIDE and f"`{key} = " not in GUIDE] == []
