"""Who may do what over a stats socket: HAProxy's three levels, each including those below."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """`user` sees what is harmless, `operator` sees everything and changes nothing that
    matters, `admin` may do anything."""

    USER = 0
    OPERATOR = 1
    ADMIN = 2

    @property
    def word(self) -> str:
        """As the configuration and `show cli level` write it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Level:
        """The level of a word that the configuration has accepted."""
        return cls[word.upper()]
