"""Log targets that are slow, full, missing or gone: nobody waits for them, and what they
did not take is counted."""

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lbsplice.config.model import AddressKind, Endpoint, Log, LogTarget
from lbsplice.plan.slots import assign
from lbsplice.report.hub import Hub
from lbsplice.report.sinks import DescriptorSink, UdpSink, UnixSink, open_sink, sink_key
from lbsplice.terms import LogLevel
from tests.support.records import PLACE, config, ended, listen, udp_log
from tests.support.waiting import wait_until

MANY = 20_000
SECONDS_FOR_MANY = 10
"""Far more than it takes, far less than one blocked line would."""


@pytest.fixture
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        yield receiver


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def open_descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def unix_reader(path):
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    reader.bind(str(path))
    reader.setblocking(False)
    return reader


def received(reader):
    """All that waits in a non-blocking socket or descriptor, in pieces."""
    pieces = []
    while True:
        try:
            piece = os.read(reader, 65536) if isinstance(reader, int) else reader.recv(65536)
        except BlockingIOError:
            return pieces
        if not piece:
            return pieces
        pieces.append(piece)


def send_many(sink, line=b"a line of the log\n", count=MANY):
    began = time.monotonic()
    for _ in range(count):
        sink.send(line)
    assert time.monotonic() - began < SECONDS_FOR_MANY
    assert sink.sent + sink.dropped >= count


# ---- datagrams ----


def test_udp_sends_one_datagram_a_line(udp):
    configuration = config(listen(tcplog=True, logs=(udp_log(udp.getsockname()[1]),)))
    hub = Hub(configuration.global_, pid=4711)
    hub.replace(configuration, assign(configuration))
    hub.sessions([ended(retries=n) for n in range(3)])
    hub.proxy_line("www", LogLevel.ALERT, "Server www/s1 is DOWN.")
    lines = [udp.recv(4096).decode() for _ in range(4)]
    assert [line[-9:] for line in lines[:3]] == [f"/0/{n} 0/0\n" for n in range(3)]
    assert re.fullmatch(
        r"<129>\w{3} [ \d]\d [\d:]{8} lbsplice\[4711\]: Server www/s1 is DOWN\.\n", lines[3]
    )
    hub.close()


def test_udp_over_ipv6():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("::1", 0))
        receiver.settimeout(20)
        address = Endpoint(AddressKind.IPV6, "::1", receiver.getsockname()[1])
        sink = open_sink((LogTarget.UDP, address))
        sink.send(b"six\n")
        assert receiver.recv(99) == b"six\n"
        sink.close()


def test_udp_without_a_receiver_costs_nothing(udp):
    address = udp.getsockname()
    udp.close()
    sink = UdpSink(socket.AF_INET, address)
    send_many(sink)
    assert sink.sent == MANY, "nobody can know that these were lost"
    sink.close()


def test_udp_line_that_is_too_long_for_a_datagram_is_dropped(udp):
    sink = UdpSink(socket.AF_INET, udp.getsockname())
    sink.send(b"x" * 65_600)
    sink.send(b"short\n")
    assert (sink.sent, sink.dropped) == (1, 1)
    assert udp.recv(99) == b"short\n"
    sink.close()


def test_unix_reader_that_stops_reading_loses_lines_but_stops_nobody(tmp_path):
    with unix_reader(tmp_path / "log") as reader:
        sink = UnixSink(str(tmp_path / "log"))
        send_many(sink)
        assert sink.dropped > 0
        assert len(received(reader)) == sink.sent
        sink.send(b"again\n")
        assert received(reader) == [b"again\n"], "it goes on once there is room"
        assert sink.sent + sink.dropped == MANY + 1
        sink.close()


def test_unix_reader_that_is_missing_is_found_when_it_appears(tmp_path):
    path = tmp_path / "log"
    sink = UnixSink(str(path))
    send_many(sink)
    assert sink.dropped == MANY
    with unix_reader(path) as reader:
        finds(sink, reader)
    path.unlink()
    send_many(sink, count=100)
    with unix_reader(path) as reader:  # syslog was restarted
        finds(sink, reader)
    sink.close()


def finds(sink, reader):
    def arrives():
        sink.send(b"there\n")
        return b"there\n" in received(reader)

    wait_until(arrives, "a line at the new reader")


def test_replaced_unix_reader_gets_the_very_next_line(tmp_path):
    path = tmp_path / "log"
    with unix_reader(path):
        sink = UnixSink(str(path))
        sink.send(b"to the first\n")
    path.unlink()
    with unix_reader(path) as reader:
        sink.send(b"to the second\n")
        assert received(reader) == [b"to the second\n"]
    assert sink.dropped == 0
    sink.close()


def test_path_that_is_no_datagram_socket_drops(tmp_path):
    (tmp_path / "file").write_text("")
    sink = UnixSink(str(tmp_path / "file"))
    send_many(sink, count=100)
    assert sink.dropped == 100
    sink.close()


def test_abstract_address_is_reached():
    name = f"lbsplice-test-{os.getpid()}"
    with unix_reader("\0" + name.ljust(107, "\0")) as reader:
        sink = open_sink((LogTarget.UNIX, Endpoint(AddressKind.ABSTRACT, name)))
        sink.send(b"x\n")
        assert received(reader) == [b"x\n"]
        sink.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_unix_reader_is_still_reached_after_a_chroot(tmp_path):
    script = """
        import os, sys
        from lbsplice.report.sinks import UnixSink
        sink = UnixSink(sys.argv[1])
        os.chroot(sys.argv[2])
        sink.send(b"from inside")
        sys.exit(sink.dropped)
    """
    (tmp_path / "jail").mkdir()
    with unix_reader(tmp_path / "log") as reader:
        assert python(script, str(tmp_path / "log"), str(tmp_path / "jail")).wait(30) == 0
        assert received(reader) == [b"from inside"]


# ---- descriptors ----


def python(script, *arguments, **streams):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), *arguments], **streams)


@pytest.fixture(params=["its own descriptor", "no /proc"])
def road(request, monkeypatch):
    """A pipe is opened anew where /proc allows it, and polled where it does not."""
    if request.param == "no /proc":
        real = os.open

        def open_without_proc(path, *arguments, **keywords):
            if str(path).startswith("/proc/self/fd/"):
                raise FileNotFoundError(errno.ENOENT, "no /proc")
            return real(path, *arguments, **keywords)

        monkeypatch.setattr(os, "open", open_without_proc)
    return request.param


def test_full_pipe_drops_and_goes_on_when_it_is_read(pipe, road):
    reader, writer = pipe
    os.set_blocking(reader, False)
    sink = DescriptorSink(writer)
    line = b"a line of the log\n"
    send_many(sink, line)
    assert sink.dropped > 0
    assert b"".join(received(reader)) == line * sink.sent
    sink.send(b"again\n")
    assert received(reader) == [b"again\n"]
    sink.close()


def test_line_longer_than_a_page_is_never_torn(pipe, road):
    reader, writer = pipe
    os.set_blocking(reader, False)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 8192)
    sink = DescriptorSink(writer)
    text = b""
    for number in range(200):
        sink.send(b"%d:" % number + b"x" * (number * 613 % 9000) + b"\n")
        if number % 3 == 0:
            text += b"".join(received(reader))
    for _ in range(8):  # what is left of the last one goes out with the ones after it
        text += b"".join(received(reader))
        sink.send(b"end\n")
    text += b"".join(received(reader))
    lines = text.splitlines()
    assert len(lines) == sink.sent
    assert sink.dropped > 0
    for line in lines:
        number, colon, rest = line.partition(b":")
        assert line == b"end" or (colon and len(rest) == int(number) * 613 % 9000)
    sink.close()


def test_the_descriptor_it_was_made_from_stays_as_it_was(pipe, road):
    reader, writer = pipe
    sink = DescriptorSink(writer)
    sink.send(b"x\n")
    assert os.get_blocking(writer)
    sink.close()
    os.write(writer, b"still open")
    assert os.read(reader, 99) == b"x\nstill open"


def test_pipe_whose_reader_is_gone_is_given_up(road):
    reader, writer = os.pipe()
    sink = DescriptorSink(writer)
    os.close(writer)
    os.close(reader)
    sink.send(b"x\n")
    assert sink.fileno() == -1
    send_many(sink)
    assert sink.dropped == MANY + 1


def test_program_whose_stdout_is_closed_by_its_reader_goes_on():
    script = """
        import sys
        from lbsplice.config.model import Global, Log, LogTarget, Place
        from lbsplice.report.hub import Hub
        from lbsplice.terms import LogLevel
        hub = Hub(Global(logs=(Log(Place("f", 1), LogTarget.STDOUT, None, "local0"),)), pid=1)
        hub.process_line(LogLevel.NOTICE, "first")
        sys.stdin.read()
        for _ in range(100):
            hub.process_line(LogLevel.NOTICE, "later")
        print(hub.dropped, file=sys.stderr)
    """
    stream = subprocess.PIPE
    with python(script, stdin=stream, stdout=stream, stderr=stream) as process:
        assert re.fullmatch(rb"<133>.* lbsplice\[1\]: first\n", process.stdout.readline())
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b"100\n"
        assert process.wait(30) == 0


def test_program_without_stdout_runs():
    script = """
        import os, sys
        os.close(1)
        from lbsplice.report.sinks import DescriptorSink
        sink = DescriptorSink(1)
        sink.send(b"x")
        sys.exit(sink.dropped)
    """
    assert python(script).wait(30) == 1


def test_stream_socket_such_as_the_journals_is_written_line_by_line():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = DescriptorSink(ours.fileno())
        assert ours.getblocking()
        line = b"y" * 999 + b"\n"
        send_many(sink, line)
        assert sink.dropped > 0
        theirs.setblocking(False)
        text = b"".join(received(theirs))
        sink.send(b"end\n")
        text += b"".join(received(theirs))
        assert set(text.splitlines()) == {b"y" * 999, b"end"}
        assert text.count(b"\n") == sink.sent
        theirs.close()
        sink.send(line)
        sink.send(line)
        assert sink.fileno() == -1


def test_terminal_that_shows_nothing_stops_nobody(road):
    master, terminal = os.openpty()
    try:
        sink = DescriptorSink(terminal)
        send_many(sink)
        assert sink.dropped > 0
        assert sink.sent > 0
        sink.close()
    finally:
        os.close(master)
        os.close(terminal)


def test_file_is_written_where_it_ended(tmp_path):
    path = tmp_path / "out"
    with path.open("ab", buffering=0) as file:
        file.write(b"before\n")
        sink = DescriptorSink(file.fileno())
        sink.send(b"ours\n")
        file.write(b"after\n")
        sink.close()
    assert path.read_bytes() == b"before\nours\nafter\n"


def test_full_disk_drops_and_is_tried_again():
    with Path("/dev/full").open("wb", buffering=0) as file:
        sink = DescriptorSink(file.fileno())
        sink.send(b"x\n")
        sink.send(b"x\n")
        assert sink.dropped == 2
        assert sink.fileno() >= 0
        sink.close()


def test_inherited_descriptor_by_its_number(pipe):
    reader, writer = pipe
    sink = open_sink((LogTarget.FD, Endpoint(AddressKind.FD, str(writer))))
    sink.send(b"x\n")
    assert os.read(reader, 9) == b"x\n"
    sink.close()


def test_no_descriptor_is_left_behind(tmp_path, pipe, udp):
    logs = (
        udp_log(udp.getsockname()[1]),
        Log(PLACE, LogTarget.UNIX, Endpoint(AddressKind.UNIX, str(tmp_path / "no")), "daemon"),
        Log(PLACE, LogTarget.FD, Endpoint(AddressKind.FD, str(pipe[1])), "daemon"),
    )
    before = open_descriptors()
    configurations = [config(listen(logs=logs[:n])) for n in (3, 1, 0, 2, 3)]
    hub = Hub(configurations[0].global_, pid=1)
    for configuration in configurations:
        hub.replace(configuration, assign(configuration))
        wanted = {sink_key(log) for log in configuration.proxies[0].logs}
        assert set(hub.dropped_by_target) == wanted
        assert len(open_descriptors()) == len(before) + len(wanted)
    hub.close()
    assert open_descriptors() == before
