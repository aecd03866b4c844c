"""Workers that die one after the other: when to wait, when to doubt, when to give up."""

from __future__ import annotations

from dataclasses import dataclass

MOST = 5
"""So many in a row may die before one was any good."""

_DOUBTS = 2
_SOON_S = 1.0
_PAUSE_S = 1.0
_SHORT_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Death:
    """`adopted`: it relayed sessions. `ready_s`: how long its control plane was at work
    before, None: it never was. `broke`: it ended because of an error of its own, and could
    say so; nobody killed it."""

    adopted: bool
    ready_s: float | None
    broke: bool


class Deaths:
    """All since one was ready. One that breaks was no good before it was ready; one that is
    killed was, when it relayed sessions: kills from outside, however many, do not add up."""

    def __init__(self) -> None:
        self._early = 0
        self._soon = 0
        self._pause_s = 0.0

    def note(self, death: Death) -> None:
        good = death.ready_s is not None if death.broke else death.adopted
        self._early = 0 if good else self._early + 1
        lived = death.ready_s is not None and not (death.broke and death.ready_s < _SOON_S)
        self._soon = 0 if lived else self._soon + 1
        self._pause_s = _PAUSE_S if death.broke else _SHORT_PAUSE_S

    def one_is_ready(self) -> None:
        self._early = 0

    @property
    def too_many(self) -> bool:
        """Give up."""
        return self._early >= MOST

    @property
    def suspicious(self) -> bool:
        """If they were to work with something new, it may be the new thing's fault."""
        return self._early >= _DOUBTS

    @property
    def pause_s(self) -> float:
        """How long to wait for the next one: not at all, unless one after the other ends as
        soon as it works. Nobody is served meanwhile, but no processor is burnt either."""
        return 0.0 if self._soon <= MOST else self._pause_s
