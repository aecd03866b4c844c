"""`lbsplice lint`: what in a haproxy.cfg will hang, and by when."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from lbsplice.config.files import Source, read_sources
from lbsplice.errors import ConfigError, LbspliceError
from lbsplice.lint.analysis import Analysis, analyse
from lbsplice.lint.finding import Severity
from lbsplice.lint.fix import fixed, patch
from lbsplice.sysctl.values import Sysctls, parse_sysctls

_UNREADABLE = 2


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--sysctl",
    "sysctl_file",
    metavar="FILE",
    help="Take the sysctls from the output of `sysctl -a` of another host.",
)
@click.option("--rtt", default=1.0, show_default=True, metavar="MS", help="Round trip to servers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, for code hosts.")
@click.option("--diff", "show_diff", is_flag=True, help="Print the safe changes as a patch.")
@click.option("--fix", "write_fix", is_flag=True, help="Make the safe changes in the files.")
@click.option("--no-table", is_flag=True, help="Leave the table of detection times out.")
@click.option(
    "--fail-on",
    type=click.Choice([severity.value for severity in Severity]),
    default=Severity.WARNING.value,
    show_default=True,
    help="The least severity that makes the exit status 1.",
)
def lint(
    files: tuple[str, ...],
    sysctl_file: str | None,
    rtt: float,
    as_json: bool,
    as_sarif: bool,
    show_diff: bool,
    write_fix: bool,
    no_table: bool,
    fail_on: str,
) -> None:
    """Say when a silent death of a server or a client is noticed with a HAProxy
    configuration, and what in it will not do what it seems to.

    Reads any configuration, HTTP, TLS and Lua included, and looks at what concerns TCP. The
    sysctls are those of this machine. A comment `# lbsplice-lint: disable=L3` silences a
    finding on its line or on the next one.

    Exit status 0: nothing found; 1: findings of --fail-on or worse (with --fix: those that are
    left after it); 2: a file can not be read, or a directory has no *.cfg.

    \b
    Examples:
      lbsplice lint /etc/haproxy/haproxy.cfg
      lbsplice lint --sysctl proxy1.sysctl --json haproxy.cfg
      lbsplice lint --diff haproxy.cfg | patch -p0
    """
    if sum((as_json, as_sarif, show_diff, write_fix)) > 1:
        raise click.UsageError("--json, --sarif, --diff and --fix exclude each other")
    try:
        sources = read_sources(files)
        if not sources:
            raise ConfigError(f"there is no *.cfg file in {', '.join(files)}")
        sysctls = _sysctls(sysctl_file)
        analysis = analyse(sources, os.environ, sysctls, rtt)
        _put_out(analysis, as_json, as_sarif, show_diff, write_fix, not no_table)
        if write_fix:
            analysis = analyse(_left(analysis), os.environ, sysctls, rtt)
    except LbspliceError as error:
        click.echo(f"lbsplice lint: {error}", err=True)
        sys.exit(_UNREADABLE)
    worst = analysis.worst()
    sys.exit(worst is not None and worst.rank >= Severity(fail_on).rank)


def _sysctls(file: str | None) -> Sysctls:
    if file is None:
        from lbsplice.kernel import sysctl

        return sysctl.present()
    (source,) = read_sources([file])
    return parse_sysctls(source.text, file)


def _put_out(
    analysis: Analysis,
    as_json: bool,
    as_sarif: bool,
    show_diff: bool,
    write_fix: bool,
    table: bool,
) -> None:
    if as_json:
        from lbsplice.lint.output.json import as_json as render_json

        click.echo(render_json(analysis))
    elif as_sarif:
        from lbsplice.lint.output.sarif import as_sarif as render_sarif

        click.echo(render_sarif(analysis))
    elif show_diff or write_fix:
        texts = fixed(analysis.sources, analysis.findings)
        _echo_bytes(patch(analysis.sources, texts))
        for source in analysis.sources if write_fix else ():
            if source.name in texts:
                _rewrite(source, texts[source.name])
    else:
        from rich.console import Console

        from lbsplice.lint.output.text import show

        show(analysis, Console(), with_table=table)


def _left(analysis: Analysis) -> tuple[Source, ...]:
    """The files as `--fix` has left them; standard input has not changed."""
    texts = fixed(analysis.sources, analysis.findings)
    return tuple(
        source if source.name == "-" else Source(source.name, texts.get(source.name, source.text))
        for source in analysis.sources
    )


def _echo_bytes(text: str) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()


def _rewrite(source: Source, text: str) -> None:
    """Put the new text in the file's place, in one step; its mode and owner stay."""
    if source.name == "-":
        click.echo("lbsplice lint: standard input has no file to change", err=True)
        return
    path = Path(source.name).resolve()
    scratch = path.with_name(f".{path.name}.lbsplice-lint")
    try:
        status = path.stat()
        scratch.write_bytes(text.encode("utf-8", "surrogateescape"))
        scratch.chmod(status.st_mode & 0o7777)
        if os.geteuid() == 0:
            os.chown(scratch, status.st_uid, status.st_gid)
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise LbspliceError(f"{source.name} can not be written: {error.strerror}") from error
    click.echo(f"lbsplice lint: {source.name} is changed", err=True)
