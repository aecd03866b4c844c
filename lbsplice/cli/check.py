"""`lbsplice check`: is this configuration valid?"""

from __future__ import annotations

import sys

import click


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> None:
    """Read configuration files (or directories of *.cfg) and say what is wrong with them.

    The same as `lbsplice run -c -V -f FILE ...`. All errors are shown, each with its place.
    Exit status 0: valid; 1: not.

    \b
    Example:
      lbsplice check /etc/haproxy/haproxy.cfg
    """
    from lbsplice.cli.run import run

    sys.exit(run(["-c", "-V", *(word for file in files for word in ("-f", file))]))
