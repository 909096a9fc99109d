"""The pairs of colours that words are set in reach WCAG AA (4.5 to 1), in light and in dark."""

from __future__ import annotations

import re

import pytest

from licenzy.kit.resources import resource_dir

CSS = (resource_dir("static") / "css" / "elements.css").read_text()

PAIRS = [
    ("ink", "ground"),
    ("ink", "surface"),
    ("ink-2", "ground"),
    ("ink-2", "surface"),
    ("ink-2", "sunken"),
    ("ink-3", "ground"),
    ("ink-3", "surface"),
    ("ink-3", "sunken"),
    ("brand", "surface"),
    ("brand", "ground"),
    ("brand-strong", "brand-soft"),
    ("code-ink", "code-ground"),
    *((tone, f"{tone}-soft") for tone in ("good", "warn", "bad", "info")),
    *((tone, "surface") for tone in ("good", "warn", "bad", "info")),
    *((ink, f"{tone}-soft") for ink in ("ink", "ink-2") for tone in ("good", "warn", "bad", "info")),
]


def colours(theme: str) -> dict[str, str]:
    """The custom properties of one theme's block, as `#rrggbb`."""
    block = re.search(rf'\[data-bs-theme="{theme}"\] {{(.*?)\n}}', CSS, re.DOTALL)
    assert block is not None
    return dict(re.findall(r"--lz-([a-z0-9-]+): (#[0-9a-f]{6});", block.group(1)))


def luminance(colour: str) -> float:
    parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS, ids=lambda word: word)
def test_words_can_be_read(theme: str, ink: str, ground: str) -> None:
    named = colours(theme)
    assert contrast(named[ink], named[ground]) >= 4.5


@pytest.mark.parametrize("mode", ["test", "live"])
def test_the_word_of_the_mode_can_be_read(mode: str) -> None:
    found = re.search(rf"\.mode-{mode} {{ --lz-mode: (#\w{{6}}); --lz-mode-ink: (#\w{{6}});", CSS)
    assert found is not None
    assert contrast(found.group(1), found.group(2)) >= 4.5


@pytest.mark.parametrize(("theme", "ink"), [("light", "#ffffff"), ("dark", "#10122b")])
def test_the_main_button_can_be_read(theme: str, ink: str) -> None:
    assert contrast(colours(theme)["brand"], ink) >= 4.5
