"""docs/configuration.md tells the truth about every keyword.

`python -m tests.unit.test_config_docs` writes the lists of keywords into it anew."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

import pytest

from lbsplice.config.keyword_tables import TABLES
from lbsplice.config.keywords import Group, Support

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
LIST = re.compile(r"<!-- (ignored|refused): (\w+) -->\n(.*?)<!-- end -->", re.S)


def _list(support: Support, group: Group) -> str:
    """The keywords by reason, as the page has them."""
    reasons: dict[str, list[str]] = {}
    for keyword in TABLES[group].values():
        if keyword.support is support:
            reasons.setdefault(keyword.why, []).append(f"`{keyword.name}`")
    return "".join(
        fill(
            f"- {why}: {', '.join(sorted(names))}",
            width=96,
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
        + "\n"
        for why, names in reasons.items()
    )


def _written_anew(page: str) -> str:
    return LIST.sub(
        lambda m: f"<!-- {m[1]}: {m[2]} -->\n{_list(Support(m[1]), Group(m[2]))}<!-- end -->",
        page,
    )


def test_lists_are_those_of_the_tables() -> None:
    page = PAGE.read_text()
    assert _written_anew(page) == page


def test_every_list_is_on_the_page() -> None:
    wanted = {
        (keyword.support.value, group.value)
        for group, table in TABLES.items()
        for keyword in table.values()
        if keyword.support is not Support.USED
    }
    assert {(m[1], m[2]) for m in LIST.finditer(PAGE.read_text())} == wanted


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (group, keyword.name)
        for group, table in TABLES.items()
        for keyword in table.values()
        if keyword.support is Support.USED
    ],
    ids=str,
)
def test_what_is_used_is_explained(group: Group, name: str) -> None:
    explained = LIST.sub("", PAGE.read_text())
    assert re.search(rf"`{re.escape(name)}[ `\[]", explained), f"{group.value} {name}"


if __name__ == "__main__":
    PAGE.write_text(_written_anew(PAGE.read_text()))
