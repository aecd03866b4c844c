"""One receiver: the socket that a `bind` listens with.

What Linux hands down from a listening socket to the ones accepted from it (TCP_NODELAY,
keepalive and its times, TCP_USER_TIMEOUT, TCP_MAXSEG) is set here, once, so that a worker
spends no system call on it for each session.

SO_REUSEPORT is not kept, unlike HAProxy: with it a second copy started by mistake takes
a share of the sessions in silence; without it that copy says that the port is busy. It is
set for the moment in which a receiver takes its place beside one that is about to go. A
port in TIME_WAIT is no obstacle (SO_REUSEADDR)."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lbsplice.config.model import AddressKind, Bind, Proxy
from lbsplice.plan.sockaddr import abstract_name
from lbsplice.socket_options import set_options, with_reason

IP_TRANSPARENT = 19  # linux/in.h; the socket module has neither of the two
IPV6_TRANSPARENT = 75  # linux/in6.h
DEFAULT_BACKLOG = 1024

_INTERNET = (socket.AF_INET, socket.AF_INET6)


@dataclass(frozen=True, slots=True)
class Address:
    """What a receiver is bound to: all that can not be changed while it listens. Two
    `bind` lines with the same one can go on with the same socket."""

    kind: str  # "4", "6", "unix", "abns", "fd"
    host: str
    port: int = 0
    only_v6: bool | None = None  # of `::`; None: as the system has it
    transparent: bool = False
    interface: str | None = None

    @classmethod
    def of(cls, bind: Bind) -> Address:
        endpoint = bind.endpoint
        kind = endpoint.kind
        if kind is AddressKind.UNIX:
            return cls("unix", os.path.abspath(endpoint.host))  # noqa: PTH100 - links stay
        if kind is AddressKind.ABSTRACT:
            return cls("abns", endpoint.host)
        if kind is AddressKind.FD:
            return cls("fd", endpoint.host)
        family, address = _ip_address(bind)
        only_v6 = None
        if address[0] == "::" and (bind.v6only or bind.v4v6):
            only_v6 = bind.v6only
        return cls(
            "6" if family == socket.AF_INET6 else "4",
            str(address[0]),
            endpoint.port or 0,
            only_v6,
            bind.transparent,
            bind.interface,
        )


class Refused(Exception):
    """A step that failed: what was tried, and the system's answer."""

    def __init__(self, step: str, why: OSError | str) -> None:
        super().__init__(step)
        self.step = step
        self.why = why


@dataclass(frozen=True, slots=True)
class Receiver:
    """A socket, what it is bound to, and the path with the inode that are ours to remove."""

    socket: socket.socket
    address: Address
    path: str | None = None
    inode: int = 0

    @property
    def inherited(self) -> bool:
        """Whoever started us may want to go on with it."""
        return self.address.kind == "fd"

    @property
    def port(self) -> int | None:
        """The one that it has got, of TCP."""
        if self.socket.family not in _INTERNET:
            return None
        return int(self.socket.getsockname()[1])

    def remove_path(self) -> None:
        if self.path is not None:
            # gone, replaced, beyond a chroot or above our rights: not ours to remove
            with contextlib.suppress(OSError):
                path = Path(self.path)
                if path.lstat().st_ino == self.inode:
                    path.unlink()


def backlog_of(proxy: Proxy, bind: Bind, maxconn: int) -> int:
    """The length of the accept queue asked for (the kernel caps it at somaxconn)."""
    return (
        bind.backlog or proxy.backlog or bind.maxconn or proxy.maxconn or maxconn or DEFAULT_BACKLOG
    )


def make(proxy: Proxy, bind: Bind, backlog: int, notes: list[str], *, beside: bool) -> Receiver:
    """Bind and listen. `notes` gets what did not work and is no reason to give up.

    With `beside`, next to a socket of our user that is bound there with SO_REUSEPORT; a
    unix socket that somebody serves is replaced. Raises Refused."""
    address = Address.of(bind)
    path, inode = None, 0
    if address.kind == "fd":
        sock = _inherit(bind)
    elif address.kind == "unix":
        sock, inode = _listen_on_path(bind, backlog, beside)
        path = str(Path(bind.endpoint.host).absolute())
    elif address.kind == "abns":
        sock = _listen_on_abstract(bind)
    else:
        sock = _bind_tcp(bind, beside)
    with _released_on_error(sock):
        _go_on(sock, proxy, bind, backlog, notes)
    return Receiver(sock, address, path, inode)


def take(
    given: socket.socket, proxy: Proxy, bind: Bind, backlog: int, notes: list[str]
) -> Receiver:
    """Go on with a socket of another program that listens where this bind wants to (see
    `is_at`). `given` stays the caller's. Raises Refused."""
    sock = given.dup()
    with _released_on_error(sock):
        path, inode = None, 0
        if bind.endpoint.kind is AddressKind.UNIX:
            path = str(Path(bind.endpoint.host).absolute())
            with _step("cannot take over UNIX socket"):
                inode = Path(path).lstat().st_ino
        _go_on(sock, proxy, bind, backlog, notes)
    return Receiver(sock, Address.of(bind), path, inode)


def adjust(receiver: Receiver, proxy: Proxy, bind: Bind, backlog: int, notes: list[str]) -> None:
    """Make a receiver that listens already serve this bind, which has its address."""
    sock = receiver.socket
    if sock.family in _INTERNET:
        set_options(sock, proxy, bind, notes)
    elif receiver.path is not None:
        try:
            with _step("cannot change UNIX socket ownership"):
                _own(Path(receiver.path), bind)
        except Refused as refused:
            notes.append(with_reason(refused.step, refused.why))
    try:
        sock.listen(backlog)
    except OSError as why:
        notes.append(with_reason("cannot change the backlog", why))


def _go_on(sock: socket.socket, proxy: Proxy, bind: Bind, backlog: int, notes: list[str]) -> None:
    sock.setblocking(False)
    if sock.family in _INTERNET:
        set_options(sock, proxy, bind, notes)
    with _step("cannot listen to socket"):
        sock.listen(backlog)
    if sock.family in _INTERNET:
        # not before: listen() looks for a conflict once more
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


@contextlib.contextmanager
def shared(receivers: Sequence[Receiver]) -> Iterator[None]:
    """While this lasts, others of our user may be bound beside these receivers."""
    sockets = [each.socket for each in receivers if each.socket.family in _INTERNET]
    for sock in sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        yield
    finally:
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def is_at(sock: socket.socket, bind: Bind, name: str | None = None) -> bool:
    """Is this socket, of another program, bound as the bind wants it? `name` is the
    address of a unix socket, if it is known by another one than its own."""
    try:
        wanted = Address.of(bind)
        where = sock.getsockname() if name is None else name
        if sock.family == socket.AF_UNIX:
            return _is_at_name(where, wanted)
        if wanted.kind != {socket.AF_INET: "4", socket.AF_INET6: "6"}.get(sock.family):
            return False
        six = sock.family == socket.AF_INET6
        level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
        transparent = sock.getsockopt(level, IPV6_TRANSPARENT if six else IP_TRANSPARENT)
        device = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0")
        only_v6 = wanted.only_v6
        if where[0] == "::":
            only_v6 = bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
            if wanted.only_v6 is None:
                wanted = replace(wanted, only_v6=_v6_alone())
        host, port = str(where[0]), int(where[1])
        interface = device.decode() or None
        found = Address(wanted.kind, host, port, only_v6, bool(transparent), interface)
    except (OSError, Refused):
        return False
    return wanted.port != 0 and found == wanted


def _is_at_name(where: str | bytes, wanted: Address) -> bool:
    if isinstance(where, bytes):
        return wanted.kind == "abns" and where == abstract_name(wanted.host)
    return wanted.kind == "unix" and where == wanted.host


def _v6_alone() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as fresh:
        return bool(fresh.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as why:
        raise Refused(what, why) from why


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
    be named twice, and the original stays as it is. What we have opened ourselves is closed
    on exec, and by that told apart."""
    number = bind.endpoint.host
    with _step(f"cannot use file descriptor '{number}'"):
        if not os.get_inheritable(int(number)):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        # an own number, closed on exec; the socket's family is read from the kernel
        copy = os.dup(int(number))
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            raise
    if sock.type != socket.SOCK_STREAM:
        sock.close()
        raise Refused(f"cannot use file descriptor '{number}'", "not a stream socket")
    return sock


def _bind_tcp(bind: Bind, beside: bool) -> socket.socket:
    family, address = _ip_address(bind)
    with _step("cannot create receiving socket"):
        sock = socket.socket(family, socket.SOCK_STREAM)
    with _released_on_error(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(beside))
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
        raise Refused("cannot bind socket", f"'{endpoint.host}' was not resolved")
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


def _listen_on_path(bind: Bind, backlog: int, beside: bool) -> tuple[socket.socket, int]:
    """Bind beside the path, set its rights, listen, and only then move it into place:
    nobody ever meets a socket with the wrong rights or nobody behind it."""
    path = Path(bind.endpoint.host)
    with _step("cannot bind UNIX socket"):
        _check_replaceable(path, beside)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with _step("cannot create receiving socket"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _released_on_error(sock):
        with _step("cannot bind UNIX socket"), contextlib.suppress(FileNotFoundError):
            aside.unlink()
        with _step("cannot bind UNIX socket"):
            sock.bind(str(aside))
        try:
            with _step("cannot change UNIX socket ownership"):
                _own(aside, bind)
            with _step("cannot listen to socket"):
                sock.listen(backlog)
            with _step("cannot bind UNIX socket"):
                inode = aside.lstat().st_ino
                aside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
    return sock, inode


def _own(path: Path, bind: Bind) -> None:
    uid = _number_of(bind.user, bind.uid, lambda name: pwd.getpwnam(name).pw_uid, "user")
    gid = _number_of(bind.group, bind.gid, lambda name: grp.getgrnam(name).gr_gid, "group")
    if uid is not None or gid is not None:
        os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid)
    if bind.mode is not None:
        path.chmod(bind.mode)


def _check_replaceable(path: Path, beside: bool) -> None:
    """Raise OSError if something other than a socket is there; unless `beside`, also if
    somebody serves it."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise FileExistsError(errno.EEXIST, "The path is taken by something that is no socket")
    if beside:
        return
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
        raise Refused(f"cannot change UNIX socket ownership to {what} '{name}'", "unknown") from (
            None
        )
