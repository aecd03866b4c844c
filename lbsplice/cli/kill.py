"""`lbsplice kill`: end sessions of the running lbsplice."""

from __future__ import annotations

import sys

import click

from lbsplice.admin.spans import many
from lbsplice.cli.client import Refused, Where, asking
from lbsplice.cli.control import FAILED
from lbsplice.cli.names import complete_server, complete_session, resolve, session_ids


@click.group()
def kill() -> None:
    """End sessions of the running lbsplice.

    Both sides are reset, after what is already there for the client has been delivered."""


@kill.command()
@click.argument(
    "ids",
    nargs=-1,
    required=True,
    metavar="ID...",
    callback=session_ids,
    shell_complete=complete_session,
)
@asking
def session(where: Where, ids: tuple[str, ...]) -> None:
    """End the sessions with these ids.

    `lbsplice sessions` shows the ids. Exit status 1: one of them is not there (any more).

    \b
    Example:
      lbsplice kill session 0x1f
    """
    there = where.find()
    failed = False
    for each in ids:
        try:
            there.object("lbsplice", "kill", "session", each)
        except Refused as why:
            click.echo(f"lbsplice: {why}", err=True)
            failed = True
        else:
            click.echo(f"{each}: ended")
    sys.exit(FAILED if failed else 0)


@kill.command()
@click.argument("name", metavar="[BACKEND/]SERVER", shell_complete=complete_server)
@asking
def server(where: Where, name: str) -> None:
    """End all sessions of a server. Its state stays: it may receive new ones at once; give it
    `lbsplice server NAME drain` before, if that is not meant.

    \b
    Example:
      lbsplice kill server amqp/a
    """
    there = where.find()
    full = resolve(there.status(), name)
    killed = there.object("lbsplice", "kill", "server", full)["killed"]
    click.echo(f"{full}: ended {many(killed, 'session')}")
