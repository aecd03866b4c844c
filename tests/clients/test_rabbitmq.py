"""RabbitMQ through an lbsplice whose worker is killed every second: every message that was
confirmed is consumed, once and in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.clients.kills import killing
from tests.clients.servers import Home, home, installed, serving
from tests.support.program import Program, reserved_port
from tests.support.waiting import wait_until

pika = pytest.importorskip("pika", reason="pika is not installed")

BROKER = installed("rabbitmq-server")
# The package's wrapper writes to /var/log; what it wraps does not.
SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
STARTS_WITHIN_S = 120.0
KILLS = 8
QUEUE = "orders"
LAST = b"the last one"
SILENCE_S = 30.0
HEARTBEAT_S = 2

pytestmark = [
    pytest.mark.skipif(BROKER is None, reason="rabbitmq-server is not installed"),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[int]:
    """The port of a broker, with an epmd of its own."""
    with home("rabbitmq") as names, home("rabbitmq") as own, ExitStack() as stack:
        # The broker tries this port on every address before it starts.
        held = stack.enter_context(closing(reserved_port(host="0.0.0.0")))
        distribution = held.getsockname()[1]
        stack.enter_context(
            serving(names, "epmd", "-port", str(names.port), "-address", "127.0.0.1")
        )
        stack.enter_context(
            serving(
                own,
                SCRIPT,
                env=_broker(own, names.port, distribution),
                within_s=STARTS_WITHIN_S,
            )
        )
        yield own.port


def _broker(own: Home, epmd: int, distribution: int) -> dict[str, str]:
    """The environment that keeps a broker to itself."""
    (own.directory / "plugins").write_text("[].\n")
    (own.directory / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = 127.0.0.1:{own.port}\nlog.console = true\nlog.file = false\n"
    )
    return {
        "RABBITMQ_NODENAME": f"lbsplice{own.port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(own.directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(own.directory),
        "RABBITMQ_CONFIG_FILE": str(own.directory / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(own.directory / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # Replace the starting shell by the broker: one process to be ended.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def connection(port: int, **more: Any) -> Any:
    """A session of an AMQP client."""
    return pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", port, connection_attempts=1, **more)
    )


def message(number: int) -> bytes:
    """A body of its own for each number, of 64 bytes up to 64 kB."""
    return f"{number} ".encode() * (16 << number % 11)


class Publisher:
    """Publishes numbered messages, each after the one before was confirmed, until it is
    told that it is enough. pika raises if one is not confirmed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._enough = threading.Event()

    def tells_enough(self) -> None:
        self._enough.set()

    def publishes(self) -> int:
        """How many were confirmed."""
        with closing(connection(self._port)) as session:
            channel = session.channel()
            channel.confirm_delivery()
            number = 0
            while not self._enough.is_set():
                channel.basic_publish("", QUEUE, message(number), mandatory=True)
                number += 1
            channel.basic_publish("", QUEUE, LAST, mandatory=True)
        return number


def consumes(port: int) -> int:
    """Consume, and acknowledge, all messages up to the last; how many were before it.
    AssertionError when one is not the next one, or comes again."""
    with closing(connection(port)) as session:
        channel = session.channel()
        channel.basic_qos(prefetch_count=100)
        deliveries = channel.consume(QUEUE, inactivity_timeout=SILENCE_S)
        for expected, (method, _, body) in enumerate(deliveries):
            assert method is not None, f"no message for {SILENCE_S} s after {expected}"
            assert not method.redelivered, f"delivered again: {body[:20]!r}"
            channel.basic_ack(method.delivery_tag)
            if body == LAST:
                channel.cancel()
                return expected
            assert body == message(expected), f"{body[:20]!r} in place of {expected}"
    raise AssertionError("the broker ended the subscription")


def test_confirmed_messages_are_consumed_once_and_in_order(
    lb: Program, in_front_of: Callable[[int], int], rabbitmq: int
) -> None:
    front = in_front_of(rabbitmq)
    with closing(connection(rabbitmq)) as session:
        session.channel().queue_declare(QUEUE)
    publisher = Publisher(front)
    with ThreadPoolExecutor(2) as clients, killing(lb.pid) as kills:
        consumed = clients.submit(consumes, front)
        confirmed = clients.submit(publisher.publishes)
        try:
            wait_until(
                lambda: kills.count >= KILLS or consumed.done() or confirmed.done(),
                "messages flow while workers are killed",
                120,
            )
        finally:
            publisher.tells_enough()
        assert confirmed.result() == consumed.result() > 0
    assert kills.count >= KILLS
    lb.stops()


def test_a_session_with_nothing_but_heartbeats(
    lb: Program, in_front_of: Callable[[int], int], rabbitmq: int
) -> None:
    front = in_front_of(rabbitmq)
    with closing(connection(front, heartbeat=HEARTBEAT_S)) as session, killing(lb.pid) as kills:
        deadline = time.monotonic() + 120
        while kills.count < KILLS:
            assert time.monotonic() < deadline, "workers are killed"
            session.process_data_events(time_limit=0.2)
        assert session.is_open
        channel = session.channel()
        channel.confirm_delivery()
        name = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_publish("", name, b"still here", mandatory=True)
        assert channel.basic_get(name, auto_ack=True)[2] == b"still here"
    lb.stops()
