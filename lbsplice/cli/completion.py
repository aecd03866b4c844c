"""`lbsplice completion`: what makes a shell complete commands, options, servers
and sessions."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_PROGRAM = "lbsplice"
_VARIABLE = "_LBSPLICE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands and names.

    It completes options too, and asks the running lbsplice for the names of its servers and
    the ids of its sessions.

    \b
    Examples:
      lbsplice completion bash > /etc/bash_completion.d/lbsplice
      lbsplice completion zsh > "${fpath[1]}/_lbsplice"
      lbsplice completion fish > ~/.config/fish/completions/lbsplice.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(context.find_root().command, {}, _PROGRAM, _VARIABLE).source())
