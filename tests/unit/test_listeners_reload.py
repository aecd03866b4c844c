"""What a reload does with listening sockets: the same address is the same socket."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from lbsplice.config.model import AddressKind, Endpoint, KeepAlive
from lbsplice.listeners import Listeners, Offered, open_listeners, reopen, retired
from lbsplice.receivers import Address, is_at
from tests.support.configs import bind, config, frontend, ipv4
from tests.unit.test_listeners import accepted_from, opened, port_of

__all__ = ["opened"]

ABSTRACT = Endpoint(AddressKind.ABSTRACT, f"lbsplice-reload-{os.getpid()}")


@pytest.fixture
def reloaded():
    """Reopen listeners; all are closed at the end of the test."""
    made = []

    def reload(previous, *proxies, maxconn=100):
        made.append(reopen(config(*proxies), previous, maxconn))
        return made[-1]

    yield reload
    for listeners in made:
        listeners.close()


def unix(path):
    return Endpoint(AddressKind.UNIX, str(path))


def is_refused(address):
    with socket.socket() as sock:
        return sock.connect_ex(address) != 0


def test_the_same_addresses_keep_their_sockets_in_any_order_and_under_any_name(
    opened, reloaded, tmp_path
):
    binds = [
        bind(ipv4(0, "127.0.0.2")),
        bind(unix(tmp_path / "front")),
        bind(ABSTRACT),
        bind(Endpoint(AddressKind.IPV6, "::1", 0)),
    ]
    before = opened(frontend(*binds))
    inode = (tmp_path / "front").stat().st_ino
    after = reloaded(before, frontend(*reversed(binds[1:]), name="k"), frontend(binds[0]))
    assert after.troubles == []
    assert list(after.sockets) == [("k", 0), ("k", 1), ("k", 2), ("l", 0)]
    assert [after.sockets[key] for key in (("k", 2), ("k", 1), ("k", 0))] == [
        before.sockets[("l", index)] for index in (1, 2, 3)
    ]
    assert after.sockets[("l", 0)] is before.sockets[("l", 0)]
    assert (tmp_path / "front").stat().st_ino == inode
    assert not retired(before, after).sockets
    retired(before, after).close()
    accepted_from(after.sockets[("l", 0)]).close()


def test_what_is_gone_is_retired_and_what_is_new_is_bound(opened, reloaded, tmp_path):
    stays, goes = bind(), bind(ipv4(0, "127.0.0.3"))
    before = opened(frontend(stays, goes, bind(unix(tmp_path / "gone"))))
    gone = before.sockets[("l", 1)].getsockname()
    after = reloaded(before, frontend(bind(ipv4(0, "127.0.0.4")), stays))
    assert after.sockets[("l", 1)] is before.sockets[("l", 0)]
    assert not is_refused(gone), "workers may still know it"
    assert set(retired(before, after).sockets) == {("l", 1), ("l", 2)}
    retired(before, after).close()
    assert is_refused(gone)
    assert list(tmp_path.iterdir()) == []
    for listener in after.sockets.values():
        accepted_from(listener).close()


def test_a_path_that_somebody_removed_is_bound_again(opened, reloaded, tmp_path):
    path = tmp_path / "front"
    before = opened(frontend(bind(unix(path)), bind()))
    path.unlink()
    after = reloaded(before, frontend(bind(unix(path)), bind()))
    assert after.sockets[("l", 0)] is not before.sockets[("l", 0)]
    assert after.sockets[("l", 1)] is before.sockets[("l", 1)]
    assert set(retired(before, after).sockets) == {("l", 0)}
    retired(before, after).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        after.sockets[("l", 0)].accept()[0].close()


def test_a_trouble_changes_nothing(opened, reloaded, tmp_path):
    before = opened(frontend(bind(tcp_ut=5000), bind(unix(tmp_path / "front"))))
    with socket.create_server(("127.0.0.1", 0)) as busy:
        after = reloaded(
            before,
            frontend(bind(), bind(ipv4(busy.getsockname()[1])), bind(unix(tmp_path / "new"))),
        )
    assert after.failed
    assert after.sockets == {}
    assert [entry.name for entry in tmp_path.iterdir()] == ["front"]
    accepted_from(before.sockets[("l", 0)]).close()
    kept = before.sockets[("l", 0)]
    assert kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000


def test_after_a_reload_that_was_refused_later_the_new_ones_go(opened, reloaded):
    before = opened(frontend(bind()))
    after = reloaded(before, frontend(bind(), bind(ipv4(0, "127.0.0.4"))))
    new = after.sockets[("l", 1)].getsockname()
    retired(after, before).close()
    assert is_refused(new)
    accepted_from(before.sockets[("l", 0)]).close()


def test_options_of_a_socket_that_stays_are_those_of_the_new_configuration(opened, reloaded):
    keepalive = KeepAlive(enabled=True, idle=31, interval=7, count=4)
    before = opened(
        frontend(
            bind(tcp_ut=12_000, mss=1200, defer_accept=True),
            client_keepalive=keepalive,
            smart_accept=True,
        )
    )
    after = reloaded(before, frontend(bind()))
    assert after.troubles == []
    with closing(accepted_from(after.sockets[("l", 0)])) as accepted, socket.socket() as fresh:
        for level, option in (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        ):
            assert accepted.getsockopt(level, option) == fresh.getsockopt(level, option)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 1200
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    listener = after.sockets[("l", 0)]
    assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT) == 0
    again = reloaded(after, frontend(bind(tcp_ut=7000), client_keepalive=keepalive))
    with closing(accepted_from(again.sockets[("l", 0)])) as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 31
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


def test_the_rights_of_a_path_that_stays_change(opened, reloaded, tmp_path):
    path = tmp_path / "front"
    before = opened(frontend(bind(unix(path), mode=0o600)))
    reloaded(before, frontend(bind(unix(path), mode=0o666, uid=os.getuid())))
    assert path.stat().st_mode & 0o777 == 0o666
    refused = reloaded(before, frontend(bind(unix(path), user="no-such-user")))
    assert "user 'no-such-user'" in refused.troubles[0].text
    assert not refused.failed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda port: ipv4(port), lambda port: Endpoint(AddressKind.ANY, "", port)),
        (lambda port: Endpoint(AddressKind.ANY, "", port), lambda port: ipv4(port)),
    ],
)
def test_an_address_may_become_wider_or_narrower(opened, reloaded, first, second):
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    before = opened(frontend(bind(first(port))))
    after = reloaded(before, frontend(bind(second(port))))
    assert after.troubles == []
    retired(before, after).close()
    accepted_from(after.sockets[("l", 0)]).close()
    third = reloaded(Listeners(), frontend(bind(second(port))))
    assert third.failed, "the address is not shared any longer"


def test_an_interface_that_is_named_now_is_bound_beside_the_old_socket(opened, reloaded):
    if os.geteuid() != 0:
        pytest.skip("an interface needs CAP_NET_RAW")
    before = opened(frontend(bind()))
    named = bind(ipv4(port_of(before)), interface="lo")
    after = reloaded(before, frontend(named))
    assert after.troubles == []
    retired(before, after).close()
    accepted_from(after.sockets[("l", 0)]).close()


def test_an_inherited_socket_may_be_named_at_a_reload_for_the_first_time(reloaded):
    with socket.create_server(("127.0.0.1", 0)) as given:
        endpoint = Endpoint(AddressKind.FD, str(given.fileno()))
        refused = reloaded(Listeners(), frontend(bind(endpoint)))
        assert "nobody handed it to us" in refused.troubles[0].text
        given.set_inheritable(True)
        first = reloaded(Listeners(), frontend(bind(endpoint)))
        assert first.troubles == []
        again = reloaded(first, frontend(bind(endpoint), name="k"))
        assert again.sockets[("k", 0)] is first.sockets[("l", 0)]


def test_another_process_gets_to_know_them_and_goes_on(opened, reloaded, tmp_path):
    binds = [bind(), bind(unix(tmp_path / "front")), bind(ABSTRACT)]
    before = opened(frontend(*binds))
    copies = [os.dup(held.descriptor) for held in before.held()]
    held = [
        type(each)(each.frontend, each.index, copy, each.address, each.path, each.inode)
        for each, copy in zip(before.held(), copies, strict=True)
    ]
    other = Listeners.of(held)
    before.forget()
    assert before.sockets == {}
    assert (tmp_path / "front").exists()
    after = reloaded(other, frontend(*binds))
    assert list(after.sockets.values()) == list(other.sockets.values())
    accepted_from(after.sockets[("l", 0)]).close()
    after.close()
    assert not (tmp_path / "front").exists()


# ---- sockets of another program ----


def test_an_offered_socket_is_used_where_it_is_bound_as_a_bind_wants_it(opened, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.socket(socket.AF_UNIX) as local,
    ):
        path = tmp_path / "front"
        local.bind(f"{path}.77.tmp")
        local.listen()
        os.rename(f"{path}.77.tmp", path)  # noqa: PTH104
        offered = [Offered(local, str(path)), Offered(six), Offered(tcp)]
        where = [
            ipv4(tcp.getsockname()[1]),
            Endpoint(AddressKind.IPV6, "::1", six.getsockname()[1]),
        ]
        proxies = [frontend(*(bind(each) for each in (*where, unix(path), ipv4(0))))]
        with closing(open_listeners(config(*proxies), 10, offered)) as listeners:
            assert listeners.troubles == []
            inodes = [os.fstat(sock.fileno()).st_ino for sock in listeners.sockets.values()]
            assert inodes[:3] == [os.fstat(s.fileno()).st_ino for s in (tcp, six, local)]
            accepted_from(listeners.sockets[("l", 0)]).close()
        assert not path.exists(), "it is ours now"


def test_more_sockets_of_one_address_are_a_warning(opened):
    with socket.socket() as first, socket.socket() as second:
        for sock in (first, second):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", 0 if sock is first else first.getsockname()[1]))
            sock.listen()
        where = ipv4(first.getsockname()[1])
        offered = [Offered(first), Offered(second)]
        with closing(open_listeners(config(frontend(bind(where))), 10, offered)) as listeners:
            (trouble,) = listeners.troubles
            assert not trouble.fatal
            assert "1 more sockets there" in trouble.text


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"transparent": True}, False),
        ({"interface": "lo"}, False),
        ({"endpoint": ipv4(1)}, False),
        ({"endpoint": Endpoint(AddressKind.ANY, "", 0)}, False),
        ({"endpoint": unix("/x")}, False),
        ({"endpoint": Endpoint(AddressKind.FD, "3")}, False),
    ],
)
def test_a_socket_fits_only_its_own_address(fields, fits):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        given = {"endpoint": ipv4(sock.getsockname()[1]), **fields}
        assert is_at(sock, bind(**given)) == fits


@pytest.mark.parametrize(
    ("only", "fields", "fits"),
    [
        (True, {"v6only": True}, True),
        (False, {"v6only": True}, False),
        (False, {"v4v6": True}, True),
        (True, {"v4v6": True}, False),
        (False, {}, True),
    ],
)
def test_a_socket_of_both_families_is_not_one_of_ipv6_alone(only, fields, fits):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=not only) as sock:
        endpoint = Endpoint(AddressKind.IPV6, "::", sock.getsockname()[1])
        assert is_at(sock, bind(endpoint, **fields)) == fits


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": ipv4(2)},
        {"endpoint": ipv4(1, "127.0.0.2")},
        {"transparent": True},
        {"interface": "lo"},
        {"endpoint": Endpoint(AddressKind.IPV6, "::", 1)},
        {"endpoint": Endpoint(AddressKind.IPV6, "::", 1), "v6only": True},
        {"endpoint": Endpoint(AddressKind.ANY, "", 1)},
        {"endpoint": Endpoint(AddressKind.ANY, "", 1), "v4v6": True},
        {"endpoint": unix("/run/x")},
        {"endpoint": Endpoint(AddressKind.ABSTRACT, "/run/x")},
        {"endpoint": Endpoint(AddressKind.FD, "3")},
    ],
)
def test_addresses_differ_in_all_that_can_not_change_while_listening(fields):
    one = Address.of(bind(**{"endpoint": ipv4(1), **fields}))
    assert one != Address.of(bind(ipv4(1)))
    assert one == Address.of(bind(**{"endpoint": ipv4(1), **fields}, name="x", maxconn=3, tcp_ut=5))
