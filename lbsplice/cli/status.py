"""`lbsplice status`: a line per server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from lbsplice.cli.client import Where, asking
from lbsplice.cli.names import complete_either, name_of_server, servers_of, unknown

_COLOURS = {"UP": "green", "DOWN": "red", "DRAIN": "blue", "MAINT": "magenta"}


@click.command()
@click.argument(
    "names", nargs=-1, metavar="[BACKEND|[BACKEND/]SERVER]...", shell_complete=complete_either
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@asking
def status(where: Where, names: tuple[str, ...], as_json: bool) -> None:
    """Say how the servers of the running lbsplice are, one line each: `backend/server|UP 1/2`.

    A status with a fraction is about to change: `UP 1/2` is one failed check from down,
    `DOWN 1/2` has one more check to pass. Exit status 3: lbsplice does not run.

    \b
    Examples:
      lbsplice status
      lbsplice status amqp
      lbsplice status --json | jq -r '.backends[].servers[] | select(.up | not).name'
    """
    found = where.find().status()
    backends = select(found, names)
    if as_json:
        click.echo(json.dumps({**found, "backends": backends}, indent=2, ensure_ascii=False))
        return
    for server in servers_of({"backends": backends}):
        click.echo(f"{name_of_server(server)}|{styled(server['status'])}")


def select(status: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The backends with those of their servers that are meant: all, if nothing is named.
    Raises Refused for a name that there is not."""
    if not names:
        return list(status["backends"])
    chosen = []
    missing = set(names)
    for backend in status["backends"]:
        servers = [server for server in backend["servers"] if not _called(server).isdisjoint(names)]
        missing -= {backend["name"]}.union(*map(_called, servers))
        if servers or backend["name"] in names:
            chosen.append({**backend, "servers": servers})
    for name in names:
        if name in missing:
            there = [each["name"] for each in status["backends"]]
            there += map(name_of_server, servers_of(status))
            raise unknown("backend or server", name, there)
    return chosen


def _called(server: dict[str, Any]) -> set[str]:
    """The names by which one may ask for it: its backend's too."""
    return {server["backend"], server["name"], name_of_server(server)}


def styled(status: str) -> str:
    """With its colour; what is about to change is yellow. click leaves the colours out
    where nobody sees them."""
    word, _, score = status.partition(" ")
    if score[:1].isdigit():
        return click.style(status, fg="yellow", bold=True)
    return click.style(status, fg=_COLOURS.get(word), bold=word == "DOWN")
