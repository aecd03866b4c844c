"""Limits that contradict each other: L11."""

from __future__ import annotations

from collections.abc import Iterator

from lbsplice.lint.finding import Finding, Severity, Subject

_SPARE = 50
"""Descriptors that HAProxy needs for itself, roughly."""


def limits_together(subject: Subject) -> Iterator[Finding]:
    """L11: maxconn against descriptors and pipes, fullconn against minconn."""
    numbers = subject.model.globals.numbers
    maxconn, files = numbers.get("maxconn"), numbers.get("ulimit-n")
    if maxconn and files and files.value < 2 * maxconn.value + _SPARE:
        yield Finding(
            "L11",
            Severity.WARNING,
            files.place,
            f"'{files.words}' is too few for '{maxconn.words}': a session needs two descriptors, "
            f"so {(files.value - _SPARE) // 2} sessions fit",
            f"remove 'ulimit-n' (it is computed), or write at least {2 * maxconn.value + _SPARE}",
        )
    most = subject.host.sysctls.number("fs.nr_open")
    if maxconn and most < 2 * maxconn.value + _SPARE:
        yield Finding(
            "L11",
            Severity.WARNING,
            maxconn.place,
            f"'{maxconn.words}' needs {2 * maxconn.value + _SPARE} descriptors, but fs.nr_open "
            f"allows a process no more than {most}",
            "raise fs.nr_open, or lower maxconn",
        )
    yield from _pipes(subject)
    yield from _proxies(subject)


def _pipes(subject: Subject) -> Iterator[Finding]:
    numbers = subject.model.globals.numbers
    maxconn, pipes = numbers.get("maxconn"), numbers.get("maxpipes")
    spliced = any(
        proxy.option(f"splice-{way}")
        for proxy in subject.model.active()
        for way in ("auto", "request", "response")
    )
    if maxconn and pipes and spliced and pipes.value < maxconn.value // 4:
        yield Finding(
            "L11",
            Severity.NOTE,
            pipes.place,
            f"'{pipes.words}' is less than a quarter of '{maxconn.words}': sessions beyond the "
            "last pipe are copied, not spliced",
            "remove 'maxpipes', whose default is maxconn/4",
        )


def _proxies(subject: Subject) -> Iterator[Finding]:
    limit = subject.model.globals.numbers.get("maxconn")
    for proxy in subject.model.active():
        own = proxy.numbers.get("maxconn")
        if proxy.has_frontend and own and limit and own.value > limit.value:
            yield Finding(
                "L11",
                Severity.WARNING,
                own.place,
                f"{proxy.title}: '{own.words}' is more than the {limit.value} of the global "
                "section, so it is never reached",
                "raise the global maxconn, or lower this one",
            )
        if not proxy.has_backend or "fullconn" in proxy.numbers:
            continue
        dynamic = [server for server in proxy.servers if server.has("minconn")]
        if dynamic:
            yield Finding(
                "L11",
                Severity.NOTE,
                dynamic[0].place,
                f"{proxy.title} has 'minconn' but no 'fullconn': the limit grows from minconn to "
                "maxconn by a guess (a tenth of the frontends' maxconn)",
                "set 'fullconn' to the load at which servers may take their maxconn",
            )
