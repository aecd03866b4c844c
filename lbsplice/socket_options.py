"""The options of a listening TCP socket that are handed down to the ones accepted from it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from lbsplice.config.model import Bind, Proxy

_TCP = socket.IPPROTO_TCP


@dataclass(frozen=True, slots=True)
class _Option:
    """`unset` undoes it on a socket that may have it from an earlier configuration; None:
    ask a fresh socket for the system's value."""

    what: str
    level: int
    option: int
    value: int | None
    unset: int | None = 0


def _options(proxy: Proxy, bind: Bind) -> Iterator[_Option]:
    keepalive = proxy.client_keepalive
    on = keepalive.enabled
    defer = 1 if bind.defer_accept else None
    yield _Option("cannot set TCP_NODELAY", _TCP, socket.TCP_NODELAY, 1)
    yield _Option(f"cannot set MSS to {bind.mss}", _TCP, socket.TCP_MAXSEG, bind.mss)
    yield _Option("cannot set TCP User Timeout", _TCP, socket.TCP_USER_TIMEOUT, bind.tcp_ut)
    yield _Option("cannot enable DEFER_ACCEPT", _TCP, socket.TCP_DEFER_ACCEPT, defer)
    # no acknowledgment of the request alone: the answer will carry it
    quick = 0 if proxy.smart_accept else None
    yield _Option("cannot delay acknowledgments", _TCP, socket.TCP_QUICKACK, quick, 1)
    yield _Option(
        "cannot enable keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1 if on else None
    )
    for what, option, value in (
        ("idle time", socket.TCP_KEEPIDLE, keepalive.idle),
        ("interval", socket.TCP_KEEPINTVL, keepalive.interval),
        ("count", socket.TCP_KEEPCNT, keepalive.count),
    ):
        yield _Option(
            f"cannot set keepalive {what}", _TCP, option, value if on else None, unset=None
        )


def set_options(sock: socket.socket, proxy: Proxy, bind: Bind, notes: list[str]) -> None:
    """Set what the configuration asks for, undo what it does not; `notes` gets what the
    system refused."""
    with socket.socket(sock.family, socket.SOCK_STREAM) as fresh:
        for each in _options(proxy, bind):
            value = each.value
            try:
                if value is None:
                    value = each.unset
                    if value is None:
                        value = fresh.getsockopt(each.level, each.option)
                    if value == _now(sock, each):
                        continue
                sock.setsockopt(each.level, each.option, value)
            except OSError as why:
                notes.append(with_reason(each.what, why))


def _now(sock: socket.socket, option: _Option) -> int:
    return sock.getsockopt(option.level, option.option)


def with_reason(what: str, why: OSError | str | None) -> str:
    """What was tried, and in brackets why it failed."""
    if why is None:
        return what
    return f"{what} ({why if isinstance(why, str) else why.strerror})"
