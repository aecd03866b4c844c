"""All commands of the command language, and finding the one that is meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lbsplice.admin import change_commands, commands_cli, help, own_commands, show_commands
from lbsplice.admin.commands import Command, Context, Said
from lbsplice.admin.levels import Level


class Table:
    """Commands by their words; the longest that fits is meant."""

    def __init__(self, commands: Iterable[Command]) -> None:
        own = Command(("help",), Level.USER, "", self._help)
        self._commands = {each.words: each for each in (*commands, own)}
        self._longest = max(map(len, self._commands))

    def __iter__(self) -> Iterable[Command]:
        return iter(self._commands.values())

    def find(self, words: Sequence[str]) -> Command | None:
        for length in range(min(len(words), self._longest), 0, -1):
            found = self._commands.get(tuple(words[:length]))
            if found is not None:
                return found
        return None

    def unknown(self, level: Level, words: Sequence[str]) -> str:
        """What there is instead of such a command."""
        return help.unknown(self._commands.values(), level, words)

    def _help(self, context: Context, words: list[str], _payload: str | None) -> Said:
        return Said(help.listing(self._commands.values(), context.level, words))


def table() -> Table:
    """Every command that there is."""
    return Table(
        (
            *commands_cli.COMMANDS,
            *change_commands.COMMANDS,
            *show_commands.COMMANDS,
            *own_commands.COMMANDS,
        )
    )
