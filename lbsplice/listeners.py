"""Listening sockets: made for every `bind` of a configuration, or taken over.

What Linux hands down from a listening socket to the ones accepted from it (TCP_NODELAY,
keepalive and its times, TCP_USER_TIMEOUT, TCP_MAXSEG) is set here, once, so that a worker
spends no system call on it for each session.

SO_REUSEPORT is not set, unlike HAProxy: with it a second copy started by mistake takes
a share of the sessions in silence; without it that copy says that the port is busy. A
port in TIME_WAIT is no obstacle (SO_REUSEADDR)."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lbsplice.config.model import AddressKind, Bind, Config, Endpoint, Proxy
from lbsplice.plan.sockaddr import abstract_name

IP_TRANSPARENT = 19  # linux/in.h; the socket module has neither of the two
IPV6_TRANSPARENT = 75  # linux/in6.h
DEFAULT_BACKLOG = 1024

Key = tuple[str, int]
"""(frontend name, index in its `binds`)"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with one `bind`; a warning when it listens all the same."""

    text: str
    fatal: bool = True


@dataclass(slots=True)
class Listeners:
    """The sockets of a configuration. `troubles` with a fatal one among them: do not start."""

    sockets: dict[Key, socket.socket] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    _paths: list[tuple[Path, int]] = field(default_factory=list)  # and their inodes
    _inherited: set[Key] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        return any(trouble.fatal for trouble in self.troubles)

    def retire(self) -> None:
        """Listen no more, while workers may still know the descriptors: each number goes
        on to exist, for a socket that is nothing, until `close`. A freed number could
        meet a new session's socket that a worker then takes for a listener.

        Inherited sockets stay open till the end: their owner may want to go on with them,
        and what connects meanwhile waits for it."""
        with socket.socket() as nothing:
            for key, listener in self.sockets.items():
                if key not in self._inherited:
                    os.dup2(nothing.fileno(), listener.fileno(), inheritable=False)
        self._remove_paths()

    def close(self) -> None:
        """Close all sockets and remove the paths of unix sockets that are still ours."""
        for listener in self.sockets.values():
            listener.close()
        self.sockets.clear()
        self._remove_paths()

    def _remove_paths(self) -> None:
        for path, inode in self._paths:
            # gone, replaced, beyond a chroot or above our rights: not ours to remove
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == inode:
                    path.unlink()
        self._paths.clear()


class _Refused(Exception):
    """A step of one bind that failed: what was tried, and the system's answer."""

    def __init__(self, step: str, why: OSError | str) -> None:
        super().__init__(step)
        self.step = step
        self.why = why


def open_listeners(config: Config, maxconn: int) -> Listeners:
    """Bind and listen for every `bind` of every enabled proxy. `maxconn` is the process's,
    the last resort for a backlog. All troubles are collected; nothing is raised."""
    listeners = Listeners()
    for proxy in config.proxies:
        if proxy.disabled or not proxy.has_frontend:
            continue
        for index, bind in enumerate(proxy.binds):
            _open_one(listeners, proxy, index, bind, maxconn)
    return listeners


def backlog_of(proxy: Proxy, bind: Bind, maxconn: int) -> int:
    """The length of the accept queue asked for (the kernel caps it at somaxconn)."""
    return (
        bind.backlog or proxy.backlog or bind.maxconn or proxy.maxconn or maxconn or DEFAULT_BACKLOG
    )


def _open_one(listeners: Listeners, proxy: Proxy, index: int, bind: Bind, maxconn: int) -> None:
    backlog = backlog_of(proxy, bind, maxconn)
    notes: list[str] = []
    try:
        kind = bind.endpoint.kind
        if kind is AddressKind.FD:
            listener = _inherit(bind)
        elif kind is AddressKind.UNIX:
            listener = _listen_on_path(bind, backlog, listeners._paths)
        elif kind is AddressKind.ABSTRACT:
            listener = _listen_on_abstract(bind)
        else:
            listener = _bind_tcp(bind, notes)
        try:
            listener.setblocking(False)
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                _set_inherited_options(listener, proxy, bind, notes)
            try:
                listener.listen(backlog)
            except OSError as why:
                raise _Refused("cannot listen to socket", why) from why
        except BaseException:
            listener.close()
            raise
    except _Refused as refused:
        listeners.troubles.append(Trouble(_tell(proxy, bind, refused.step, refused.why)))
    else:
        listeners.sockets[(proxy.name, index)] = listener
        if bind.endpoint.kind is AddressKind.FD:
            listeners._inherited.add((proxy.name, index))
    listeners.troubles += [Trouble(_tell(proxy, bind, note), fatal=False) for note in notes]


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as why:
        raise _Refused(what, why) from why


@contextlib.contextmanager
def _released_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise


# ---- the kinds of address ----


def _inherit(bind: Bind) -> socket.socket:
    """Take a copy of a descriptor that whoever started us left open: the same one may
    be named twice, and the original stays as it is."""
    number = bind.endpoint.host
    with _step(f"cannot use file descriptor '{number}'"):
        # an own number, closed on exec; the socket's family is read from the kernel
        copy = os.dup(int(number))
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            raise
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise _Refused(f"cannot use file descriptor '{number}'", "not a stream socket")
    return sock


def _bind_tcp(bind: Bind, notes: list[str]) -> socket.socket:
    family, address = _ip_address(bind)
    with _step("cannot create receiving socket"):
        sock = socket.socket(family, socket.SOCK_STREAM)
    with _released_on_error(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and (bind.v6only or bind.v4v6):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bind.v6only))
        if bind.transparent:
            with _step("cannot make receiving socket transparent"):
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                else:
                    sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        if bind.interface is not None:
            # HAProxy only warns and then listens on every interface; whoever names one
            # means that the others shall not reach it
            with _step(f"cannot bind receiver to device '{bind.interface}'"):
                name = bind.interface.encode() + b"\0"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
        with _step("cannot bind socket"):
            sock.bind(address)
    return sock


def _ip_address(bind: Bind) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[object, ...]]:
    endpoint = bind.endpoint
    port = endpoint.port or 0
    if endpoint.kind is AddressKind.ANY:
        return (socket.AF_INET6, ("::", port)) if bind.v4v6 else (socket.AF_INET, ("", port))
    if endpoint.kind is AddressKind.NAME:
        raise _Refused("cannot bind socket", f"'{endpoint.host}' was not resolved")
    with _step("cannot bind socket"):
        found = socket.getaddrinfo(
            endpoint.host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    family, _, _, _, address = found[0]
    return family, address


def _listen_on_abstract(bind: Bind) -> socket.socket:
    with _step("cannot create receiving socket"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _released_on_error(sock), _step("cannot bind UNIX socket"):
        sock.bind(abstract_name(bind.endpoint.host))
    return sock


def _listen_on_path(bind: Bind, backlog: int, made: list[tuple[Path, int]]) -> socket.socket:
    """Bind beside the path, set its rights, listen, and only then move it into place:
    nobody ever meets a socket with the wrong rights or nobody behind it."""
    path = Path(bind.endpoint.host)
    with _step("cannot bind UNIX socket"):
        _check_replaceable(path)
    uid = _number_of(bind.user, bind.uid, lambda name: pwd.getpwnam(name).pw_uid, "user")
    gid = _number_of(bind.group, bind.gid, lambda name: grp.getgrnam(name).gr_gid, "group")
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with _step("cannot create receiving socket"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _released_on_error(sock):
        with _step("cannot bind UNIX socket"), contextlib.suppress(FileNotFoundError):
            beside.unlink()
        with _step("cannot bind UNIX socket"):
            sock.bind(str(beside))
        try:
            with _step("cannot change UNIX socket ownership"):
                if uid is not None or gid is not None:
                    os.chown(beside, -1 if uid is None else uid, -1 if gid is None else gid)
                if bind.mode is not None:
                    beside.chmod(bind.mode)
            with _step("cannot listen to socket"):
                sock.listen(backlog)
            with _step("cannot bind UNIX socket"):
                inode = beside.lstat().st_ino
                beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    made.append((path, inode))
    return sock


def _check_replaceable(path: Path) -> None:
    """Raise OSError if something other than a socket that nobody serves is there."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "The path is taken by something that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            pass  # somebody listens, with a full queue
        except PermissionError:
            return  # above our rights to ask; the rename will say
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _number_of(
    name: str | None, number: int | None, look_up: Callable[[str], int], what: str
) -> int | None:
    if name is None:
        return number
    try:
        return look_up(name)
    except KeyError:
        raise _Refused(f"cannot change UNIX socket ownership to {what} '{name}'", "unknown") from (
            None
        )


# ---- options ----


def _set_inherited_options(sock: socket.socket, proxy: Proxy, bind: Bind, notes: list[str]) -> None:
    tcp = socket.IPPROTO_TCP
    options: list[tuple[str, int, int, int | None]] = [
        ("cannot set TCP_NODELAY", tcp, socket.TCP_NODELAY, 1),
        (f"cannot set MSS to {bind.mss}", tcp, socket.TCP_MAXSEG, bind.mss),
        ("cannot set TCP User Timeout", tcp, socket.TCP_USER_TIMEOUT, bind.tcp_ut),
        ("cannot enable DEFER_ACCEPT", tcp, socket.TCP_DEFER_ACCEPT, int(bind.defer_accept)),
    ]
    if not bind.defer_accept:
        options.pop()
    if proxy.smart_accept:
        # no acknowledgment of the request alone: the answer will carry it
        options.append(("cannot delay acknowledgments", tcp, socket.TCP_QUICKACK, 0))
    keepalive = proxy.client_keepalive
    if keepalive.enabled:
        options += [
            ("cannot enable keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            ("cannot set keepalive idle time", tcp, socket.TCP_KEEPIDLE, keepalive.idle),
            ("cannot set keepalive interval", tcp, socket.TCP_KEEPINTVL, keepalive.interval),
            ("cannot set keepalive count", tcp, socket.TCP_KEEPCNT, keepalive.count),
        ]
    for what, level, option, value in options:
        if value is None:
            continue
        try:
            sock.setsockopt(level, option, value)
        except OSError as why:
            notes.append(f"{what} ({why.strerror})")


# ---- words ----


def _tell(proxy: Proxy, bind: Bind, step: str, why: OSError | str | None = None) -> str:
    said = ""
    if why is not None:
        said = f" ({why if isinstance(why, str) else why.strerror})"
    place = f"[{bind.place.file}:{bind.place.line}]"
    unix = bind.endpoint.kind in (AddressKind.UNIX, AddressKind.ABSTRACT)
    address = f"[{show(bind.endpoint)}]" if unix else f"for [{show(bind.endpoint)}]"
    return f"Binding {place} for proxy {proxy.name}: {step}{said} {address}{_help(bind, why)}"


def _help(bind: Bind, why: OSError | str | None) -> str:
    """What would help, on the same line."""
    number = why.errno if isinstance(why, OSError) else None
    port = bind.endpoint.port or 0
    if number == errno.EADDRINUSE and port:
        return f"; another program listens there, `ss -ltnp 'sport = :{port}'` shows which"
    if number == errno.EADDRINUSE:
        return "; another program listens there"
    if number == errno.EACCES and 0 < port < 1024:
        return "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if number == errno.EPERM and bind.transparent:
        return "; `transparent` needs root or CAP_NET_ADMIN"
    if number == errno.EADDRNOTAVAIL:
        return "; no interface has this address (`transparent` or ip_nonlocal_bind allows it)"
    return ""


def show(endpoint: Endpoint) -> str:
    """An address as HAProxy's messages write it: `127.0.0.1:80`, `:::80`, a path."""
    if endpoint.kind is AddressKind.UNIX:
        return endpoint.host
    if endpoint.kind is AddressKind.ABSTRACT:
        return f"abns@{endpoint.host}"
    if endpoint.kind is AddressKind.FD:
        return f"fd@{endpoint.host}"
    host = "0.0.0.0" if endpoint.kind is AddressKind.ANY else endpoint.host
    return f"{host}:{endpoint.port or 0}"
