"""An explanation (lbsplice.admin.explain) as text for people, and as an object for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lbsplice.admin.explain import Case, Ending, Explanation, LegExplained
from lbsplice.admin.session import SessionView
from lbsplice.admin.spans import bytes_text, range_text, span_text

_CASES = {
    Case.SILENCE: "nothing moves any more",
    Case.CLIENT_GONE: "the client is gone",
    Case.SERVER_GONE: "the server is gone",
    Case.SERVER_DOWN: "the server goes down now",
}
_WIDTH = max(map(len, _CASES.values()))


def text(found: Explanation) -> str:
    """Several lines, each with its end."""
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: Explanation) -> Iterator[str]:
    session = found.session
    yield from _head(session, found)
    yield ""
    yield "Why it is open"
    for sentence in found.why:
        yield f"  {sentence}"
    for leg in found.legs:
        yield ""
        yield from _leg(leg)
    if found.endings:
        yield ""
        yield "When it ends"
        for ending in found.endings:
            yield f"  if {_CASES[ending.case]:<{_WIDTH}}  {_when(ending)}: {ending.what}"
            if ending.note:
                yield f"     {'':<{_WIDTH}}  {ending.note}"


def _head(session: SessionView, found: Explanation) -> Iterator[str]:
    to = "/".join(session.server) if session.server else f"{session.backend or '-'}/<NOSRV>"
    address = found.legs[1].address
    way = [session.client, session.frontend, f"{to} ({address})" if address else to]
    yield f"session {id_text(session.serial)}: {' -> '.join(way)}"
    more = [
        session.state,
        f"open for {span_text(session.age_ms)}",
        f"idle for {span_text(session.idle_ms)}",
    ]
    if session.retries:
        more.append(f"connected at attempt {session.retries + 1}")
    if session.redispatched:
        more.append("sent to another server than first chosen")
    yield f"  {', '.join(more)}"


def _leg(leg: LegExplained) -> Iterator[str]:
    yield f"{leg.side.capitalize()} {leg.address or '(no address)'}"
    parts = [f"sent {bytes_text(leg.sent)}", f"idle for {span_text(leg.idle_ms)}"]
    if leg.held:
        parts.append(f"{bytes_text(leg.held)} of it held for the other side")
    if leg.ended:
        parts.append("has ended its direction")
    yield f"  {', '.join(parts)}"
    yield f"  The kernel waits {leg.waits}."
    width = max((len(timer.name) for timer in leg.timers), default=0)
    for timer in leg.timers:
        when = span_text(timer.in_ms)
        yield f"  {timer.whose:<8}  {timer.name:<{width}}  in {when}: {timer.then}"


def _when(ending: Ending) -> str:
    if ending.never:
        return "stays open" if ending.case is Case.SERVER_DOWN else "never"
    if not ending.worst_ms:
        return "at once"
    if not ending.best_ms:
        return f"within {span_text(ending.worst_ms)}"
    return range_text(ending.best_ms, ending.worst_ms)


def id_text(serial: int) -> str:
    """A session's number as commands write it and take it."""
    return f"{serial:#x}"


def as_object(found: Explanation) -> dict[str, Any]:
    """What is not in the session's own object (lbsplice.admin.objects)."""
    return {
        "why": list(found.why),
        "legs": [
            {
                "side": leg.side,
                "address": leg.address,
                "waits": leg.waits,
                "timers": [
                    {"whose": t.whose, "name": t.name, "in_ms": t.in_ms, "then": t.then}
                    for t in leg.timers
                ],
            }
            for leg in found.legs
        ],
        "endings": [
            {
                "case": ending.case.value,
                "never": ending.never,
                "best_ms": ending.best_ms,
                "worst_ms": ending.worst_ms,
                "what": ending.what,
                "note": ending.note,
            }
            for ending in found.endings
        ],
    }
