"""The `lbsplice` command.

`lbsplice run` takes HAProxy's own words. So that a unit file needs only the program's
name changed, `run` may be left out: a first word with a dash means it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

import lbsplice.program  # noqa: F401 - it remembers how we were started
from lbsplice import __version__
from lbsplice.cli.check import check
from lbsplice.cli.control import reload, upgrade
from lbsplice.process import stop_quietly_while_starting

_OWN_OPTIONS = ("--help", "--version")
_MASTER_WORDS = frozenset(("-W", "-Ws"))


class _HaproxyCommand(click.Command):
    """A command whose words click leaves alone: `-db` and `--` mean what HAProxy means."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args == ["--help"]:
            return super().parse_args(ctx, args)
        ctx.params["words"] = tuple(args)
        return []


_LOADED_WHEN_ASKED_FOR = (
    "completion",
    "explain",
    "kill",
    "lab",
    "lint",
    "rescue",
    "server",
    "sessions",
    "status",
    "sysctl",
    "top",
)
"""Commands that need more of the machine than `run` does: a service starts without them.
Each is in the module of its name."""


_WHOLE = 1000
"""As long as no first sentence of a command's help is."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_LOADED_WHEN_ASKED_FOR])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LOADED_WHEN_ASKED_FOR:
            command = getattr(import_module(f"lbsplice.cli.{cmd_name}"), cmd_name)
            assert isinstance(command, click.Command), cmd_name
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its first sentence, as a whole."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, each) for name, each in found if each is not None and not each.hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(_WHOLE)) for name, each in shown])


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="lbsplice", message="%(prog)s version %(version)s")
def commands() -> None:
    """Balance long-lived TCP sessions in HAProxy's configuration language, and end those
    whose server is gone at once.

    \b
    Examples:
      lbsplice check lb.cfg
      lbsplice run -f lb.cfg
      lbsplice -Ws -f /etc/haproxy/haproxy.cfg -p /run/lbsplice.pid
      lbsplice reload
      lbsplice status
    """


@commands.command(cls=_HaproxyCommand, options_metavar="[HAPROXY'S OPTIONS]")
def run(words: tuple[str, ...]) -> None:
    """Serve a configuration. Takes HAProxy's own command line; `run` itself may be left
    out.

    \b
    Example:
      lbsplice run -db -f lb.cfg
      lbsplice run -D -f lb.cfg -x /run/haproxy.sock -sf $(cat /run/haproxy.pid)
    \b
    -f FILE|DIR   configuration, repeatable; of a directory all *.cfg, sorted
    -c            check only: exit status 0 valid, 1 not; with -V says so
    -cc EXPR      test a condition of `.if`: 0 true, 1 false, 2 not a condition
    -D            go to the background, once everything has started
    -db, -d       stay in the foreground, whatever the configuration says
    -W, -Ws       as HAProxy's master to whoever starts it; -Ws notifies systemd
    -p FILE       write the pid here (with -D, -W, -Ws)
    -n N, -N N    sessions of the process; of each proxy that says nothing
    -L NAME       local peer name
    -C DIR        change to this directory first
    -x SOCKET     take over the listening sockets of a running HAProxy (its stats socket)
    -sf PID...    then end these processes, each after its last session
    -st PID...    then end these processes at once
    -V, -q        say more; say nothing
    -dW           warnings are errors
    -v, -vv       versions; and what is built in
    --            configuration files follow
    """
    stop_quietly_while_starting(master=not _MASTER_WORDS.isdisjoint(words))
    from lbsplice.cli.run import run as run_words

    sys.exit(run_words(words))


@commands.command(cls=_HaproxyCommand, hidden=True)
def trial(words: tuple[str, ...]) -> None:
    """For another lbsplice, which wants to become this one."""
    from lbsplice.cli.trial import run as try_words

    try_words(list(words))


commands.add_command(check)
commands.add_command(reload)
commands.add_command(upgrade)


def main(words: Sequence[str] | None = None) -> None:
    """The program. Ends with SystemExit."""
    given = list(sys.argv[1:] if words is None else words)
    if given and given[0].startswith("-") and given[0] not in _OWN_OPTIONS:
        given.insert(0, "run")
    commands(given, prog_name="lbsplice")
