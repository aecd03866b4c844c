"""What an operator says of a server: weights, addresses, new servers. Sentences checked
against HAProxy 2.6."""

from __future__ import annotations

import pytest

from lbsplice.admin.control import AdminError
from lbsplice.admin.server_words import new_server, readdressed, server_of, weight_of
from lbsplice.config.model import AddressKind, Endpoint
from tests.unit.config_reading import TIMEOUTS, config

BY = " by 'stats socket command'"


def backend(*servers, balance="roundrobin"):
    lines = "".join(f" server {each}\n" for each in servers)
    return config(f"backend b\n{TIMEOUTS} balance {balance}\n{lines}").proxies[0]


PROXY = backend("a 10.0.0.1:80 weight 10 check", "k 10.0.0.2:81")
A, K = PROXY.servers


@pytest.mark.parametrize(
    ("text", "weight"),
    [("0", 0), ("256", 256), ("7", 7), ("50%", 5), ("0%", 0), ("100000%", 256), ("15%", 1)],
)
def test_a_weight(text, weight):
    assert weight_of(text, PROXY, 10) == weight


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("257", "Absolute weight can only be between 0 and 256 inclusive."),
        ("-1", "Absolute weight can only be between 0 and 256 inclusive."),
        ("-1%", "Relative weight must be positive."),
        ("10%%", "Trailing garbage in weight string"),
        ("x", "Empty weight string empty or preceded by garbage"),
    ],
)
def test_no_weight(text, said):
    with pytest.raises(AdminError) as error:
        weight_of(text, PROXY, 10)
    assert str(error.value) == said


@pytest.mark.parametrize("balance", ["static-rr", "source"])
def test_a_static_algorithm_takes_all_or_nothing(balance):
    proxy = backend("a 10.0.0.1:80 weight 4", balance=balance)
    assert weight_of("0", proxy, 4) == 0
    assert weight_of("100%", proxy, 4) == 4
    with pytest.raises(AdminError, match="only accepts weights '0%' and '100%'"):
        weight_of("2", proxy, 4)


# ---- another address ----


@pytest.mark.parametrize(
    ("address", "port", "said", "at"),
    [
        ("10.0.0.9", None, "IP changed from '10.0.0.2' to '10.0.0.9'", ("10.0.0.9", 81)),
        ("10.0.0.2", None, "no need to change the addr", ("10.0.0.2", 81)),
        (
            "10.0.0.2",
            "81",
            "no need to change the addr, no need to change the port",
            ("10.0.0.2", 81),
        ),
        (
            "10.0.0.9",
            "82",
            "IP changed from '10.0.0.2' to '10.0.0.9', port changed from '81' to '82'",
            ("10.0.0.9", 82),
        ),
        ("::1", None, "IP changed from '10.0.0.2' to '::1'", ("::1", 81)),
        (None, "90", "port changed from '81' to '90'", ("10.0.0.2", 90)),
        (None, "+5", "port changed from '81' to '+5'", ("10.0.0.2", 5)),
        (None, "-5", "port changed from '81' to '-5'", ("10.0.0.2", -5)),
    ],
)
def test_a_server_at_another_address(address, port, said, at):
    new = readdressed(K, address, port)
    assert new.said == said + BY
    assert (new.endpoint.host, new.endpoint.port) == at
    assert new.endpoint.relative is (port is not None and port[0] in "+-")
    six = ":" in at[0]
    assert new.endpoint.kind is (AddressKind.IPV6 if six else AddressKind.IPV4)


@pytest.mark.parametrize(
    ("address", "port", "said"),
    [
        ("x", None, "Invalid addr 'x'"),
        ("/tmp/x", None, "Invalid addr '/tmp/x'"),
        ("0.0.0.0", None, "Invalid addr '0.0.0.0'"),
        (None, "x", "provided port is not an integer"),
        (None, "70000", "provided port is out of range"),
        (None, "0", "provided port is out of range"),
    ],
)
def test_no_address(address, port, said):
    with pytest.raises(AdminError, match="^" + said):
        readdressed(K, address, port)


def test_a_check_needs_to_know_its_port():
    with pytest.raises(AdminError, match="can't change <port> to port map"):
        readdressed(A, None, "+1")


# ---- a new one ----


def test_a_new_server_begins_in_maintenance_with_the_first_free_id():
    server = new_server(PROXY, "n", ["10.0.0.3:80", "check", "inter", "300ms", "weight", "7"])
    assert server.endpoint == Endpoint(AddressKind.IPV4, "10.0.0.3", 80)
    assert (server.id, server.weight, server.disabled) == (3, 7, True)
    assert (server.check.enabled, server.check.inter) == (True, 300)


def test_default_server_does_not_count():
    text = f"backend b\n{TIMEOUTS} default-server weight 9 check\n server a 10.0.0.1:80\n"
    server = new_server(config(text).proxies[0], "n", ["10.0.0.3:80"])
    assert server.weight == 1
    assert not server.check.enabled


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("n", [], "'server' expects <name> and <addr>[:<port>] as arguments."),
        ("a", ["10.0.0.3:80"], "Already exists a server with the same name in backend."),
        ("n", ["10.0.0.3:80", "inter", "0"], "invalid value 0 for argument 'inter'."),
        ("m/x", ["10.0.0.3:80"], "character '/' is not permitted in server name 'm/x'."),
    ],
)
def test_no_new_server(name, words, said):
    with pytest.raises(AdminError) as error:
        new_server(PROXY, name, words)
    assert str(error.value) == said


def test_an_unknown_word_is_named():
    with pytest.raises(AdminError, match=r"^unknown keyword 'foo'"):
        new_server(PROXY, "n", ["10.0.0.3:80", "foo"])


def test_an_id_is_given_once():
    with pytest.raises(AdminError, match=r"custom id 1 already used at .* \('server a'\)"):
        new_server(PROXY, "n", ["10.0.0.3:80", "id", "1"])


def test_a_name_is_not_resolved():
    with pytest.raises(AdminError, match=r"'db\.example' is a name"):
        new_server(PROXY, "n", ["db.example:80"])


def test_a_static_algorithm_gets_no_servers():
    proxy = backend("a 10.0.0.1:80", balance="static-rr")
    with pytest.raises(AdminError, match="must use a dynamic load balancing"):
        new_server(proxy, "n", ["10.0.0.3:80"])


def test_who_is_not_there():
    with pytest.raises(AdminError, match=r"No such backend\."):
        server_of([PROXY], ("x", "a"))
    with pytest.raises(AdminError, match=r"No such server\."):
        server_of([PROXY], ("b", "x"))
    assert server_of([PROXY], ("b", "k")) == (PROXY, K)
