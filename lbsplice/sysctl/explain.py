"""What each sysctl means, with its present value, for a configuration: in seconds and
sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lbsplice.lint.facts import Host
from lbsplice.lint.model import Model, Path
from lbsplice.lint.wording import listed, span, spoken
from lbsplice.sysctl import tcp
from lbsplice.sysctl.keys import KEYS
from lbsplice.sysctl.load import (
    DESCRIPTORS_A_SESSION,
    PIPE_PAGES,
    QUEUED_BYTES,
    SPARE_DESCRIPTORS,
    legs_without_user_timeout,
    paths_with_system_keepalive,
    servers_of,
    sessions_of,
)
from lbsplice.sysctl.values import Sysctls


@dataclass(frozen=True, slots=True)
class Explained:
    """One sysctl: its value (None: this kernel has none), what follows from it, and what
    that is for the configuration at hand."""

    name: str
    value: str | None
    means: str
    here: str = ""
    is_tight: bool = False  # it limits what the configuration asks for


@dataclass(frozen=True, slots=True)
class Question:
    """What the values are explained for. `model` is None without a configuration."""

    sysctls: Sysctls
    model: Model | None = None

    @property
    def host(self) -> Host:
        return Host(self.sysctls)

    def number(self, short: str) -> int:
        return self.sysctls.number(_full(short))

    def numbers(self, short: str) -> tuple[int, ...]:
        return self.sysctls.numbers(_full(short))

    @property
    def sessions(self) -> int | None:
        return sessions_of(self.model) if self.model else None


def _full(short: str) -> str:
    return next(name for name in KEYS if name.endswith(f".{short}"))


def explain(question: Question) -> Iterator[Explained]:
    """Every sysctl that matters, in the order of what it decides."""
    for short, reader in _READERS.items():
        name = _full(short)
        value = question.sysctls.text(name)
        if value is None:
            yield Explained(name, None, "this kernel has none (or its module is not loaded)")
        else:
            means, here, tight = reader(question)
            yield Explained(name, value, means, here, tight)
    yield Explained(
        "tcp_user_timeout",
        None,
        "is no sysctl: a socket option. 'tcp-ut' on a bind or server line sets it; it ends a "
        "session whose data is not acknowledged for that long, and takes the place of the probe "
        "count of keepalive; a live peer that does not read is ended as well",
    )


class _Told(NamedTuple):
    """What a value means, what that is for the configuration, and whether it is too small
    for it."""

    means: str
    here: str = ""
    is_tight: bool = False


def _named(found: list[tuple[Path, str]]) -> str:
    return listed(list(dict.fromkeys(f"{path.title} ({side} side)" for path, side in found)), 2)


def _keepalive(question: Question) -> _Told:
    idle, interval, count = (
        question.number(f"tcp_keepalive_{what}") for what in ("time", "intvl", "probes")
    )
    life = tcp.keepalive(idle, max(1, interval), count)
    means = (
        f"{idle} s idle, then {count} probes {interval} s apart: a dead peer is found "
        f"{span(*life)} after it went silent ({life.worst_ms // 1000} s), on sockets with "
        "keepalive on and no times of their own"
    )
    here = ""
    if question.model is not None:
        users = paths_with_system_keepalive(question.model, question.host)
        here = f"used by {_named(users)}" if users else "no keepalive here uses it"
    return _Told(means, here)


def _probe(question: Question) -> _Told:
    return _Told("see tcp_keepalive_time")


def _retries2(question: Question) -> _Told:
    host = question.host
    found = tcp.unacknowledged(host.retries2, host.rto_max_ms)
    means = (
        f"a session whose data is not acknowledged is given up {span(*found)} after the peer went "
        f"silent ({found.best_ms // 1000} s at least)"
    )
    here = ""
    if question.model is not None:
        users = legs_without_user_timeout(question.model, host)
        here = f"decides for {_named(users)}" if users else "every leg here has tcp-ut instead"
    return _Told(means, here)


def _syn(question: Question) -> _Told:
    total = question.host.connect_ms
    linear = question.host.linear
    means = f"a connect to a silent address is given up after {spoken(total)}"
    here = ""
    if question.model is not None:
        limits = {
            p.timeouts["connect"].value: p.timeouts["connect"].words
            for p in question.model.backends()
            if "connect" in p.timeouts
        }
        said = [
            f"'{words}' is sooner and lets {tcp.syns_within(ms, linear)} SYNs go"
            for ms, words in sorted(limits.items())
            if ms < total
        ]
        here = listed(said, 2)
    return _Told(means, here)


def _linear(question: Question) -> _Told:
    return _Told(
        f"the first {question.number('tcp_syn_linear_timeouts')} SYNs that are sent again "
        "come 1 s apart, before the pauses double"
    )


def _synack(question: Question) -> _Told:
    total = tcp.accepting(question.number("tcp_synack_retries"), question.host.rto_max_ms)
    return _Told(f"a half-open connection of a client that is gone is kept {spoken(total)}")


def _orphans(question: Question) -> _Told:
    retries = question.number("tcp_orphan_retries") or 8
    found = tcp.unacknowledged(retries, question.host.rto_max_ms)
    return _Told(
        f"a socket that was closed with data still to send is kept up to {span(*found)} "
        f"({retries} retries{' by default' if not question.number('tcp_orphan_retries') else ''}); "
        "a reset, as at a mark-down, keeps nothing"
    )


def _fin(question: Question) -> _Told:
    seconds = question.number("tcp_fin_timeout")
    return _Told(
        f"a closed socket waits {seconds} s for the peer's FIN; it does not end half-closed "
        "sessions of a program ('timeout client-fin' and 'timeout server-fin' do)"
    )


def _rto_max(question: Question) -> _Told:
    pause = question.number("tcp_rto_max_ms")
    return _Told(
        f"pauses between retransmissions grow to {spoken(pause)}: so long may a session "
        "still wait after its path is back"
    )


def _rto_min(question: Question) -> _Told:
    pause = question.number("tcp_rto_min_us")
    return _Told(f"the first retransmission comes {pause / 1000:g} ms after a send or later")


def _somaxconn(question: Question) -> _Told:
    limit = question.number("somaxconn")
    means = f"at most {limit} connections wait to be accepted by one listener"
    burst = question.sessions // 10 if question.sessions else 0
    if limit >= min(burst, 65535):
        return _Told(means)
    return _Told(means, f"a tenth of maxconn, {burst} clients, may come back at once", True)


def _syncookies(question: Question) -> _Told:
    says = {
        0: "are refused until one ends",
        1: "get SYN cookies: they come in, with fewer TCP options",
        2: "get SYN cookies, as all others do",
    }
    value = question.number("tcp_syncookies")
    return _Told(
        "clients beyond the handshakes under way that a listener has room for (its backlog, at "
        f"most somaxconn) {says.get(value, 'have an unknown rule')}"
    )


def _syn_backlog(question: Question) -> _Told:
    limit = question.number("tcp_max_syn_backlog")
    if question.number("tcp_syncookies"):
        return _Told("limits nothing while tcp_syncookies is on")
    return _Told(
        f"at most {tcp.handshakes(limit)} handshakes are under way on one listener (three "
        "quarters); SYNs of clients not known yet are dropped beyond that"
    )


def _ports(question: Question) -> _Told:
    low, high = question.numbers("ip_local_port_range")
    count = high - low + 1
    means = f"{count} sessions at once to one server address from one source address"
    if question.model is None:
        return _Told(means)
    servers = servers_of(question.model)
    most = count * servers
    here = f"{most} sessions to {servers} servers"
    tight = bool(question.sessions and question.sessions > most)
    return _Told(means, here + (f", maxconn is {question.sessions}" if tight else ""), tight)


def _tw(question: Question) -> _Told:
    value = question.number("tcp_tw_reuse")
    says = {
        0: "is never used again for the same server address before 60 s have passed",
        1: "may be used again for the same server address after 1 s, with timestamps",
        2: "is used again for the same address after 1 s on the loopback only, else after 60 s",
    }
    return _Told(f"a port in TIME_WAIT {says.get(value, 'has an unknown rule')}")


def _memory(question: Question) -> _Told:
    limit = 4096 * question.numbers("tcp_mem")[2]
    fits = limit // QUEUED_BYTES
    tight = bool(question.sessions and fits < question.sessions)
    return _Told(
        f"all TCP queues together may take {limit >> 20} MiB with pages of 4 KiB: {fits} sessions "
        f"that hold {QUEUED_BYTES >> 10} KiB each (idle ones hold nothing)",
        f"maxconn is {question.sessions}" if question.sessions else "",
        tight,
    )


def _buffer(which: str, verb: str) -> Callable[[Question], _Told]:
    def told(question: Question) -> _Told:
        values = question.numbers(which)
        most = values[2]
        return _Told(
            f"one socket {verb} up to {most >> 10} KiB that the other side has not taken: so "
            "much is unread or unacknowledged at a death"
        )

    return told


def _files(question: Question) -> _Told:
    limit = question.number("file-max")
    tight = bool(question.sessions and DESCRIPTORS_A_SESSION * question.sessions > limit)
    return _Told(
        f"the machine may have {limit} open files; processes with CAP_SYS_ADMIN (root) are not "
        "held back by it (not measured: that would harm all other processes)",
        "",
        tight,
    )


def _nr_open(question: Question) -> _Told:
    limit = question.number("nr_open")
    fits = (limit - SPARE_DESCRIPTORS) // DESCRIPTORS_A_SESSION
    tight = bool(question.sessions and question.sessions > fits)
    return _Told(
        f"one process may open {limit} files: {fits} sessions without pipes",
        f"maxconn is {question.sessions}" if question.sessions else "",
        tight,
    )


def _pipe_pages(question: Question) -> _Told:
    pages = question.number("pipe-user-pages-soft")
    if not pages:
        return _Told("pipes of users are not limited")
    return _Told(
        f"a user who is not root gets {pages // PIPE_PAGES} pipes of 64 KiB, then small ones: "
        "splicing gets slower beyond that, nothing fails"
    )


def _pipe_size(question: Question) -> _Told:
    return _Told(
        f"a pipe may be made {question.number('pipe-max-size') >> 10} KiB large ('tune.pipesize')"
    )


def _conntrack(question: Question) -> _Told:
    limit = question.number("nf_conntrack_max")
    fits = limit // 2
    tight = bool(question.sessions and question.sessions > fits)
    return _Told(
        f"{limit} tracked connections: {fits} sessions (two each); beyond that new ones are "
        "dropped silently",
        f"maxconn is {question.sessions}" if question.sessions else "",
        tight,
    )


def _conntrack_time(what: str) -> Callable[[Question], _Told]:
    def told(question: Question) -> _Told:
        (name,) = (name for name in KEYS if name.endswith(f"nf_conntrack_tcp_timeout_{what}"))
        seconds = question.sysctls.number(name)
        return _Told(f"{_CONNTRACK[what]} is forgotten after {spoken(1000 * seconds)}")

    return told


_CONNTRACK = {
    "established": "an idle connection",
    "unacknowledged": "a connection with unacknowledged data",
    "max_retrans": "a connection that is only retransmitted",
    "time_wait": "a closed connection",
}
_READERS: dict[str, Callable[[Question], _Told]] = {
    "tcp_keepalive_time": _keepalive,
    "tcp_keepalive_intvl": _probe,
    "tcp_keepalive_probes": _probe,
    "tcp_retries2": _retries2,
    "tcp_rto_max_ms": _rto_max,
    "tcp_rto_min_us": _rto_min,
    "tcp_syn_retries": _syn,
    "tcp_syn_linear_timeouts": _linear,
    "tcp_synack_retries": _synack,
    "tcp_orphan_retries": _orphans,
    "tcp_fin_timeout": _fin,
    "tcp_tw_reuse": _tw,
    "ip_local_port_range": _ports,
    "somaxconn": _somaxconn,
    "tcp_syncookies": _syncookies,
    "tcp_max_syn_backlog": _syn_backlog,
    "tcp_mem": _memory,
    "tcp_rmem": _buffer("tcp_rmem", "receives"),
    "tcp_wmem": _buffer("tcp_wmem", "keeps"),
    "file-max": _files,
    "nr_open": _nr_open,
    "pipe-user-pages-soft": _pipe_pages,
    "pipe-max-size": _pipe_size,
    "nf_conntrack_max": _conntrack,
    **{f"nf_conntrack_tcp_timeout_{what}": _conntrack_time(what) for what in _CONNTRACK},
}
