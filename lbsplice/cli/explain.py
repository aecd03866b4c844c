"""`lbsplice explain`: why a session is still open, and when it will end."""

from __future__ import annotations

import json

import click

from lbsplice.cli.client import Where, asking
from lbsplice.cli.names import complete_session, session_ids


@click.command()
@click.argument("id_", metavar="ID", callback=session_ids, shell_complete=complete_session)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@asking
def explain(where: Where, id_: str, as_json: bool) -> None:
    """Say why a session is still open and when it will end.

    It tells which timers run on each side, what the kernel waits for, and what happens if
    the client or the server is gone, or the server goes down now. ID is one of `lbsplice
    sessions`.

    \b
    Examples:
      lbsplice sessions --stalled
      lbsplice explain 0x1f
    """
    there = where.find()
    if as_json:
        found = there.object("lbsplice", "show", "session", id_, "json")
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        click.echo(there.text("lbsplice", "explain", id_))
