"""Listening sockets: what they are bound to, what accepted ones inherit, what is said."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing
from dataclasses import replace

import pytest

from lbsplice.config.model import AddressKind, Endpoint, KeepAlive
from lbsplice.listeners import backlog_of, open_listeners, show
from tests.support.configs import bind, config, frontend, ipv4


@pytest.fixture
def opened():
    """Open listeners that are closed at the end of the test."""
    made = []

    def open_for(*proxies, maxconn=100):
        listeners = open_listeners(config(*proxies), maxconn)
        made.append(listeners)
        return listeners

    yield open_for
    for listeners in made:
        listeners.close()


def port_of(listeners, index=0):
    return listeners.sockets[("l", index)].getsockname()[1]


def accepted_from(listener):
    with socket.create_connection(listener.getsockname()[:2], timeout=20) as client:
        listener.settimeout(20)
        accepted, _ = listener.accept()
        accepted.settimeout(20)
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        return accepted


def test_every_bind_gets_a_socket_that_listens(opened):
    listeners = opened(frontend(bind(), bind()))
    assert set(listeners.sockets) == {("l", 0), ("l", 1)}
    assert not listeners.failed
    for listener in listeners.sockets.values():
        assert not listener.getblocking()
        assert not os.get_inheritable(listener.fileno())
        accepted_from(listener).close()


def test_a_disabled_proxy_does_not_listen(opened):
    assert opened(frontend(bind(), disabled=True)).sockets == {}


def test_accepted_sockets_inherit_what_a_session_needs(opened):
    proxy = frontend(
        bind(tcp_ut=12_000, mss=1200),
        client_keepalive=KeepAlive(enabled=True, idle=31, interval=7, count=4),
    )
    with closing(accepted_from(opened(proxy).sockets[("l", 0)])) as accepted:

        def option(level, name):
            return accepted.getsockopt(level, name)

        tcp = socket.IPPROTO_TCP
        assert option(tcp, socket.TCP_NODELAY) == 1
        assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(tcp, socket.TCP_KEEPIDLE) == 31
        assert option(tcp, socket.TCP_KEEPINTVL) == 7
        assert option(tcp, socket.TCP_KEEPCNT) == 4
        assert option(tcp, socket.TCP_USER_TIMEOUT) == 12_000
        assert 0 < option(tcp, socket.TCP_MAXSEG) <= 1200


def test_keepalive_values_count_only_when_keepalive_is_on(opened):
    proxy = frontend(bind(), client_keepalive=KeepAlive(enabled=False, idle=31))
    with closing(accepted_from(opened(proxy).sockets[("l", 0)])) as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) != 31


def test_defer_accept_is_set_only_when_asked(opened):
    listeners = opened(frontend(bind(defer_accept=True), bind()))
    values = [
        listeners.sockets[("l", index)].getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)
        for index in (0, 1)
    ]
    assert values[0] > 0
    assert values[1] == 0


def test_a_refused_option_is_a_warning_and_it_listens_all_the_same(opened):
    listeners = opened(frontend(bind(mss=-100)))
    assert [trouble.fatal for trouble in listeners.troubles] == [False]
    assert "cannot set MSS to -100" in listeners.troubles[0].text
    accepted_from(listeners.sockets[("l", 0)]).close()


@pytest.mark.parametrize(
    ("fields", "family", "v6only"),
    [
        ({"endpoint": Endpoint(AddressKind.ANY, "", 0)}, socket.AF_INET, None),
        ({"endpoint": Endpoint(AddressKind.ANY, "", 0), "v4v6": True}, socket.AF_INET6, 0),
        ({"endpoint": Endpoint(AddressKind.IPV6, "::", 0), "v4v6": True}, socket.AF_INET6, 0),
        ({"endpoint": Endpoint(AddressKind.IPV6, "::", 0), "v6only": True}, socket.AF_INET6, 1),
    ],
)
def test_wildcards_listen_on_the_families_that_were_asked_for(opened, fields, family, v6only):
    listener = opened(frontend(bind(**fields))).sockets[("l", 0)]
    assert listener.family == family
    if v6only is not None:
        assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == v6only


def test_transparent_listens_on_an_address_that_nobody_has(opened):
    endpoint = ipv4(0, "192.0.2.77")
    failed = opened(frontend(bind(endpoint)))
    assert failed.failed
    assert "Cannot assign requested address" in failed.troubles[0].text
    if os.geteuid() != 0:
        pytest.skip("transparent needs CAP_NET_ADMIN")
    listeners = opened(frontend(bind(endpoint, transparent=True)))
    assert listeners.sockets[("l", 0)].getsockname()[0] == "192.0.2.77"


def test_all_troubles_of_all_binds_are_told_in_haproxys_shape(opened):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        listeners = opened(
            frontend(
                bind(ipv4(port)),
                bind(ipv4(0, "192.0.2.77")),
                bind(),
                bind(Endpoint(AddressKind.UNIX, "/nonexistent/x.sock")),
                bind(interface="nosuch0"),
            )
        )
    texts = [trouble.text for trouble in listeners.troubles]
    assert texts[0].startswith(
        "Binding [lb.cfg:7] for proxy l: cannot bind socket (Address already in use) "
        f"for [127.0.0.1:{port}]"
    )
    assert f"sport = :{port}" in texts[0]
    assert "(Cannot assign requested address) for [192.0.2.77:0]" in texts[1]
    assert texts[2] == (
        "Binding [lb.cfg:7] for proxy l: cannot bind UNIX socket "
        "(No such file or directory) [/nonexistent/x.sock]"
    )
    assert "device 'nosuch0'" in texts[3]
    assert len(texts) == 4
    assert set(listeners.sockets) == {("l", 2)}
    assert all("\n" not in text for text in texts)


@pytest.mark.parametrize(
    ("error", "fields", "helps"),
    [
        (errno.EACCES, {"endpoint": ipv4(80)}, "CAP_NET_BIND_SERVICE"),
        (errno.EPERM, {"transparent": True}, "CAP_NET_ADMIN"),
        (errno.EADDRNOTAVAIL, {}, "ip_nonlocal_bind"),
        (errno.EADDRINUSE, {"endpoint": ipv4(81)}, "sport = :81"),
    ],
)
def test_a_refusal_says_what_would_help(opened, monkeypatch, error, fields, helps):
    def refuse(self, address):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    (trouble,) = opened(frontend(bind(**fields))).troubles
    assert os.strerror(error) in trouble.text
    assert helps in trouble.text


def test_a_second_copy_on_the_same_port_finds_it_busy(opened):
    first = opened(frontend(bind()))
    second = opened(frontend(bind(ipv4(port_of(first)))))
    assert second.failed
    assert "Address already in use" in second.troubles[0].text


def test_a_port_is_free_again_at_once_after_its_sessions(opened):
    first = opened(frontend(bind()))
    port = port_of(first)
    accepted_from(first.sockets[("l", 0)]).close()  # we close first: TIME_WAIT is ours
    first.close()
    assert not opened(frontend(bind(ipv4(port)))).failed


# ---- unix sockets ----


def test_a_unix_socket_gets_its_mode_and_is_removed_at_the_end(opened, tmp_path):
    path = tmp_path / "front.sock"
    endpoint = Endpoint(AddressKind.UNIX, str(path))
    listeners = opened(frontend(bind(endpoint, mode=0o640, uid=os.getuid(), gid=os.getgid())))
    assert path.stat().st_mode & 0o777 == 0o640
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["front.sock"]
    listeners.close()
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(opened, tmp_path):
    path = tmp_path / "front.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    listeners = opened(frontend(bind(Endpoint(AddressKind.UNIX, str(path)))))
    assert listeners.troubles == []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_unix_socket_that_is_served_or_no_socket_is_left_alone(opened, tmp_path):
    path, file = tmp_path / "served.sock", tmp_path / "file"
    file.write_text("keep")
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
        served.listen()
        listeners = opened(
            frontend(*(bind(Endpoint(AddressKind.UNIX, str(p))) for p in (path, file)))
        )
        assert [trouble.fatal for trouble in listeners.troubles] == [True, True]
        assert "Address already in use" in listeners.troubles[0].text
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert file.read_text() == "keep"


def test_a_path_that_was_taken_over_by_somebody_else_is_not_removed(opened, tmp_path):
    path = tmp_path / "front.sock"
    listeners = opened(frontend(bind(Endpoint(AddressKind.UNIX, str(path)))))
    path.unlink()
    path.write_text("another one's")
    listeners.close()
    assert path.exists()


def test_an_unknown_user_of_a_unix_socket_is_told(opened, tmp_path):
    path = tmp_path / "front.sock"
    listeners = opened(frontend(bind(Endpoint(AddressKind.UNIX, str(path)), user="no-such-user")))
    assert "user 'no-such-user'" in listeners.troubles[0].text
    assert list(tmp_path.iterdir()) == []


def test_an_abstract_socket_listens(opened):
    name = f"lbsplice-test-{os.getpid()}"
    opened(frontend(bind(Endpoint(AddressKind.ABSTRACT, name))))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect((b"\0" + name.encode()).ljust(108, b"\0"))


# ---- inherited descriptors ----


def test_an_inherited_socket_serves_who_waits_in_it_already_and_may_be_named_twice(opened):
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        given.set_inheritable(True)
        with socket.create_connection(given.getsockname(), timeout=20) as waiting:
            endpoint = Endpoint(AddressKind.FD, str(given.fileno()))
            listeners = opened(frontend(bind(endpoint), bind(endpoint)))
            assert listeners.troubles == []
            first, second = (listeners.sockets[("l", index)] for index in (0, 1))
            assert first.fileno() != second.fileno() != given.fileno()
            second.settimeout(20)
            accepted, _ = second.accept()
            with accepted:
                assert accepted.getpeername() == waiting.getsockname()
            with closing(accepted_from(first)) as later:
                assert later.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        listeners.close()
        assert given.fileno() >= 0  # the original stays the starter's
        assert given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_bad_descriptor_is_told(opened, tmp_path):
    with (tmp_path / "file").open("w") as file, socket.socket(type=socket.SOCK_DGRAM) as datagram:
        numbers = ("9999", str(file.fileno()), str(datagram.fileno()))
        for number in numbers[1:]:
            os.set_inheritable(int(number), True)
        listeners = opened(
            frontend(*(bind(Endpoint(AddressKind.FD, number)) for number in numbers))
        )
    texts = [trouble.text for trouble in listeners.troubles]
    assert "cannot use file descriptor '9999' (Bad file descriptor) for [fd@9999]" in texts[0]
    assert "Socket operation on non-socket" in texts[1]
    assert "not a stream socket" in texts[2]


def test_a_socket_of_our_own_is_not_an_inherited_one(opened):
    with socket.create_server(("127.0.0.1", 0)) as own:
        endpoint = Endpoint(AddressKind.FD, str(own.fileno()))
        (trouble,) = opened(frontend(bind(endpoint))).troubles
    assert "Bad file descriptor" in trouble.text
    assert "nobody handed it to us" in trouble.text


# ---- the end ----


def test_retired_listeners_refuse_but_keep_their_numbers_till_the_end(opened, tmp_path):
    path = tmp_path / "front.sock"
    listeners = opened(frontend(bind(), bind(Endpoint(AddressKind.UNIX, str(path)))))
    numbers = {listener.fileno() for listener in listeners.sockets.values()}
    address = listeners.sockets[("l", 0)].getsockname()
    listeners.retire()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=20)
    assert not path.exists()
    with socket.socket() as fresh:
        assert fresh.fileno() not in numbers
    assert not opened(frontend(bind(ipv4(address[1])))).failed  # free for a successor


@pytest.mark.parametrize(
    ("bind_backlog", "proxy_backlog", "bind_maxconn", "proxy_maxconn", "maxconn", "expected"),
    [
        (1, 2, 3, 4, 5, 1),
        (None, 2, 3, 4, 5, 2),
        (None, None, 3, 4, 5, 3),
        (None, None, None, 4, 5, 4),
        (None, None, None, None, 5, 5),
        (None, None, None, None, 0, 1024),
    ],
)
def test_backlog_takes_the_nearest_word(
    bind_backlog, proxy_backlog, bind_maxconn, proxy_maxconn, maxconn, expected
):
    one = replace(bind(), backlog=bind_backlog, maxconn=bind_maxconn)
    proxy = frontend(one, backlog=proxy_backlog, maxconn=proxy_maxconn)
    assert backlog_of(proxy, one, maxconn) == expected


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        (ipv4(80), "127.0.0.1:80"),
        (Endpoint(AddressKind.ANY, "", 81), "0.0.0.0:81"),
        (Endpoint(AddressKind.IPV6, "::1", 82), "::1:82"),
        (Endpoint(AddressKind.UNIX, "/run/x"), "/run/x"),
        (Endpoint(AddressKind.ABSTRACT, "x"), "abns@x"),
        (Endpoint(AddressKind.FD, "7"), "fd@7"),
    ],
)
def test_addresses_are_shown_as_haproxy_shows_them(endpoint, shown):
    assert show(endpoint) == shown
