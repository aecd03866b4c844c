"""Which sessions are meant: the filters of `lbsplice show sessions`, as words and as a
test on what is known of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lbsplice.admin.control import AdminError
from lbsplice.admin.objects import Kernel, is_stalled
from lbsplice.admin.session import SessionView
from lbsplice.errors import UnitError
from lbsplice.stuck.selection import Endpoint, parse_endpoint
from lbsplice.units import Fault, QuantityError, parse_duration, parse_integer

USAGE = (
    "expects 'server [BACKEND/]NAME', 'backend NAME', 'client ADDR[:PORT]', 'older TIME',"
    " 'idle TIME', 'stalled', 'quick' and 'limit N'"
)


@dataclass(frozen=True, slots=True)
class Filter:
    """All that is given must hold. `server` may be without its backend's name. `quick`
    asks the kernel for nothing; `limit` 0 is none."""

    server: str | None = None
    backend: str | None = None
    client: Endpoint | None = None
    older_ms: int = 0
    idle_ms: int = 0
    stalled: bool = False
    quick: bool = False
    limit: int = 0

    def may_match(self, session: SessionView) -> bool:
        """What can be said before the kernel is asked."""
        if session.age_ms < self.older_ms or session.idle_ms < self.idle_ms:
            return False
        if self.backend is not None and session.backend != self.backend:
            return False
        if self.server is not None and not _is_of(session, self.server):
            return False
        return self.client is None or _is_from(session, self.client)

    def matches(self, kernel: Kernel) -> bool:
        return not self.stalled or is_stalled(kernel)


def parse_filter(words: Sequence[str]) -> Filter:
    """Raises AdminError."""
    values: dict[str, object] = {}
    rest = iter(words)
    for word in rest:
        if word in ("stalled", "quick"):
            values[word] = True
        elif word in _VALUES:
            try:
                name, value = _VALUES[word](_next(rest, word))
            except UnitError as why:
                raise AdminError(f"'{word}': {why}") from why
            values[name] = value
        elif word != "json":
            raise AdminError(f"'{word}' is not known here; this command {USAGE}.")
    if values.get("stalled") and values.get("quick"):
        raise AdminError("'stalled' is what the kernel tells: not with 'quick'.")
    return Filter(**values)  # type: ignore[arg-type]


def filter_words(wanted: Filter) -> list[str]:
    """What `parse_filter` reads."""
    words: list[str] = []
    for word, value in (("server", wanted.server), ("backend", wanted.backend)):
        words += [word, value] if value is not None else []
    if wanted.client is not None:
        words += ["client", str(wanted.client)]
    for word, amount, unit in (
        ("older", wanted.older_ms, "ms"),
        ("idle", wanted.idle_ms, "ms"),
        ("limit", wanted.limit, ""),
    ):
        words += [word, f"{amount}{unit}"] if amount else []
    words += ["stalled"] if wanted.stalled else []
    return words + (["quick"] if wanted.quick else [])


def parse_span(text: str) -> int:
    """A length of time in ms; a number alone is seconds. A session may be older than a
    `timeout` can be long. Raises UnitError."""
    try:
        return parse_duration(text, unit="s")
    except QuantityError as why:
        if why.fault is not Fault.OVERFLOW:
            raise
        return 1000 * parse_duration(text, unit="s", result="s")


def _next(rest: Iterator[str], word: str) -> str:
    value = next(rest, None)
    if value is None:
        raise AdminError(f"'{word}' expects a value.")
    return value


def _limit(text: str) -> int:
    value = parse_integer(text)
    if value < 1:
        raise UnitError(f"'{text}' is less than 1")
    return value


_VALUES: dict[str, Callable[[str], tuple[str, object]]] = {
    "server": lambda text: ("server", text),
    "backend": lambda text: ("backend", text),
    "client": lambda text: ("client", parse_endpoint(text)),
    "older": lambda text: ("older_ms", parse_span(text)),
    "idle": lambda text: ("idle_ms", parse_span(text)),
    "limit": lambda text: ("limit", _limit(text)),
}


def _is_of(session: SessionView, name: str) -> bool:
    if session.server is None:
        return False
    return name in (session.server[1], "/".join(session.server))


def _is_from(session: SessionView, meant: Endpoint) -> bool:
    host, colon, port = session.client.rpartition(":")
    if not colon or not port.isdigit():
        return False  # a unix socket's
    address = host.removeprefix("[").removesuffix("]").removeprefix("::ffff:")
    return meant.matches((address, int(port)))
