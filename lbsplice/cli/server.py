"""`lbsplice server`: what an operator wants of a server."""

from __future__ import annotations

import re

import click

from lbsplice.cli.client import Where, asking
from lbsplice.cli.names import complete_server, name_of_server, resolve, servers_of
from lbsplice.cli.status import styled

_STATES = ("ready", "drain", "maint")
_WEIGHT = "weight"
_IS_WEIGHT = re.compile(r"[0-9]+%?")


@click.command()
@click.argument("name", metavar="[BACKEND/]SERVER", shell_complete=complete_server)
@click.argument("action", type=click.Choice([*_STATES, _WEIGHT]))
@click.argument("value", required=False, metavar="[N]")
@asking
def server(where: Where, name: str, action: str, value: str | None) -> None:
    """Set a server of the running lbsplice to ready, drain or maint, or change its weight.

    `drain` gives it no new sessions and lets those that are open end by themselves. `maint`
    also stops its checks, and is a mark-down: with `on-marked-down shutdown-sessions` its
    sessions end. A weight is 0 to 256, or a share of the configured one such as 50%.

    \b
    Examples:
      lbsplice server amqp/a drain
      lbsplice server a weight 50%
    """
    if action != _WEIGHT and value is not None:
        raise click.UsageError(f"`{action}` takes no value")
    if action == _WEIGHT and (value is None or not _IS_WEIGHT.fullmatch(value)):
        given = "" if value is None else f", not '{value}'"
        raise click.UsageError(f"a weight is 0 to 256, or a share such as 50%{given}")
    there = where.find()
    full = resolve(there.status(), name)
    if value is not None:
        there.order("set", "server", full, "weight", value)
    else:
        there.order("set", "server", full, "state", action)
    for each in servers_of(there.status()):
        if name_of_server(each) == full:
            weight = _told(each["user_weight"]) if action == _WEIGHT else ""
            click.echo(f"{full}|{styled(each['status'])}{weight}")


def _told(weight: int) -> str:
    """A share of a small weight may be nothing: half of 1 is 0."""
    return f" (weight {weight}{'' if weight else ': it gets no new sessions'})"
