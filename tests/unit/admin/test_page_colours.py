"""The colours of the statistics page can be told apart, in both themes: WCAG's AA."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("lbsplice.admin") / "page" / "page.css").read_text("utf-8")
LOOKS = ("up", "going", "down", "drain", "maint", "plain")
TEXT, GRAPHICS = 4.5, 3.0
GROUNDS = ("back", "card", "hover", "chosen")
PAIRS = [
    *((ink, ground, TEXT) for ink in ("ink", "faint") for ground in GROUNDS),
    *((look, f"{look}-back", TEXT) for look in LOOKS),
    ("down", "card", TEXT),
    ("down", "back", TEXT),
    ("back", "ink", TEXT),
    *(("accent", ground, GRAPHICS) for ground in GROUNDS),
]


def colours(selector: str) -> dict[str, str]:
    block = CSS.partition(f"{selector} {{")[2].partition("}")[0]
    return dict(re.findall(r"--([a-z-]+): #([0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("ffffff", "000000") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
@pytest.mark.parametrize(("ink", "ground", "least"), PAIRS)
def test_what_is_written_can_be_read(theme: str, ink: str, ground: str, least: float) -> None:
    found = colours(theme)
    assert contrast(found[ink], found[ground]) >= least
