"""What `help` and an unknown command are answered with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import takewhile

from lbsplice.admin.commands import Command
from lbsplice.admin.levels import Level

_USUAL = (
    "help [<command>] : what commands there are",
    "prompt [help | n | i | p | timed ]* : stay connected, with or without a prompt",
    "quit : end the connection",
)
"""These end every list."""

_WIDTH = 40
_MOST_LIKE_IT = 5
_AS_LIKE = 0.75
_LOOKED_AT = 48
"""Characters of a mistyped word that are compared."""


def listing(commands: Iterable[Command], level: Level, words: Sequence[str]) -> str:
    """The answer to `help words`."""
    title = "The following commands are valid at this level:\n"
    return title + _lines(_matching(_listed(commands, level), words))


def unknown(commands: Iterable[Command], level: Level, words: Sequence[str]) -> str:
    """The answer to a command that there is not."""
    if not words:
        title = "Unknown command: ''. Please enter one of the following commands only:\n"
    else:
        title = f"Unknown command: '{words[0]}', but maybe one of the following ones is a "
        title += "better match:\n"
    return title + _lines(_matching(_listed(commands, level), words))


def _listed(commands: Iterable[Command], level: Level) -> list[Command]:
    found = [each for each in commands if each.help and each.level <= level]
    return sorted(found, key=lambda each: each.words)


def _matching(commands: Sequence[Command], words: Sequence[str]) -> Sequence[Command]:
    """Those that begin as `words` do, or those most like them."""
    alike = [each for each in commands if each.words[: len(words)] == tuple(words)]
    if alike:
        return alike
    known = 0
    for each in commands:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(each.words, words, strict=False))
        known = max(known, sum(1 for _ in same))
    candidates = [each for each in commands if each.words[:known] == tuple(words[:known])]
    wanted = words[known][:_LOOKED_AT] if known < len(words) else ""
    begun = [
        each
        for each in candidates
        if known < len(each.words) and wanted and each.words[known].startswith(wanted)
    ]
    if not begun and known and len(candidates) <= _MOST_LIKE_IT:
        return candidates
    return begun or _most_like(candidates, words, known)


def _most_like(
    candidates: Sequence[Command], words: Sequence[str], known: int
) -> Sequence[Command]:
    wanted = " ".join(words[known : known + 3])[:_LOOKED_AT]
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    scores: list[float] = []
    for each in candidates:
        matcher.set_seq1(" ".join(each.words[known:]))
        scores.append(matcher.ratio())
    best = max(scores, default=0.0)
    ranked = sorted(range(len(candidates)), key=lambda number: -scores[number])
    kept = [number for number in ranked[:_MOST_LIKE_IT] if scores[number] >= _AS_LIKE * best]
    return [candidates[number] for number in sorted(kept)]


def _lines(commands: Iterable[Command]) -> str:
    return "".join(map(_line, (*(each.help for each in commands), *_USUAL)))


def _line(help_text: str) -> str:
    usage, _, meaning = help_text.partition(": ")
    return f"  {usage.strip():<{_WIDTH}}: {meaning.strip()}\n"
