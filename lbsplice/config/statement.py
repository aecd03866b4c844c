"""One line of configuration as a section's reader sees it."""

from __future__ import annotations

from dataclasses import dataclass

from lbsplice.config.keywords import Support, Table, hint
from lbsplice.config.messages import Report
from lbsplice.config.model import Place
from lbsplice.errors import ConfigError, UnitError
from lbsplice.units import parse_integer


@dataclass(frozen=True, slots=True)
class Statement:
    """The words of a line; `prefix` is `no`, `default` or "" and is not among them."""

    place: Place
    words: tuple[str, ...]
    prefix: str = ""

    @property
    def keyword(self) -> str:
        return self.words[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]

    def word(self, index: int) -> str:
        """The word at `index` (0 is the keyword), "" where there is none."""
        return self.words[index] if index < len(self.words) else ""

    def at_most(self, count: int, shown: str | None = None) -> None:
        """Raise `ConfigError` if there are more than `count` arguments."""
        if len(self.words) > count + 1:
            raise ConfigError(
                f"'{shown or self.keyword}' cannot handle unexpected argument "
                f"'{self.words[count + 1]}'."
            )

    def integer(self, *, low: int = 0, high: int = 2**31 - 1) -> int:
        """The one argument as a number. Raises `ConfigError`."""
        text = self.word(1)
        if not text:
            raise ConfigError(f"'{self.keyword}' expects an integer argument.")
        self.at_most(1)
        return integer_in(f"'{self.keyword}' : ", text, low=low, high=high)


def integer_in(
    before: str, text: str, *, low: int, high: int, after: str = "", name: str = "value"
) -> int:
    """A number within bounds. Raises `ConfigError`, its text between `before` and
    `after`."""
    try:
        value = parse_integer(text)
    except UnitError as error:
        what = "" if name == "value" else f"{name} "
        raise ConfigError(f"{before}{what}{error}{after}") from None
    if not low <= value <= high:
        raise ConfigError(f"{before}{name} {value} is out of range ({low}..{high}){after}")
    return value


def known(table: Table, word: str, shown: str, unknown: str, report: Report, place: Place) -> bool:
    """Look a word up: True if it is used, False if it is ignored (a warning has been
    given). Raises `ConfigError` if it is refused, or with the text `unknown` and the
    nearest known word if no table has it."""
    keyword = table.get(word)
    if keyword is None:
        used = (name for name, entry in table.items() if entry.support is not Support.REFUSED)
        raise ConfigError(f"{unknown}{hint(word, used) or hint(word, table)}")
    if keyword.support is Support.REFUSED:
        raise ConfigError(keyword.told(shown))
    if keyword.support is Support.IGNORED:
        report.warn(keyword.told(shown), place)
        return False
    return True
