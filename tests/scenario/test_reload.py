"""Another configuration in the running worker: sessions stay, whatever becomes of their
server, their listener or their proxy; what stays keeps its state and its counters."""

from __future__ import annotations

import os
import re
import signal
from subprocess import CompletedProcess

from tests.support.command import lbsplice
from tests.support.crash import says, talks
from tests.support.peers import Peer
from tests.support.program import Program, Service, Syslog
from tests.support.waiting import wait_until

CHECK = "check inter 100ms fall 2 rise 2 on-marked-down shutdown-sessions"


def head(lb: Program, globals_: str = "") -> str:
    return f"""\
global
 nbthread 2
 {globals_}
 log {lb.log} local0
defaults
 mode tcp
 log global
 option tcplog
 retries 1
 timeout connect 2s
 timeout client 1m
 timeout server 1m
"""


def listen(lb: Program, *lines: str, name: str = "l", port: str = "front") -> str:
    return f"listen {name}\n bind 127.0.0.1:{lb.port(port)}\n " + "\n ".join(lines) + "\n"


def reload(lb: Program, text: str, status: int = 0) -> CompletedProcess[str]:
    """`lbsplice reload` with this configuration."""
    path = lb.directory / "lb.cfg"
    path.write_text(text)
    done = lbsplice("reload", "-f", str(path))
    assert done.returncode == status, done
    return done


def served(lb: Program, server: Service, port: str = "front") -> tuple[Peer, Peer]:
    """A session on the only server that there is."""
    client, end = lb.session(server, port)
    talks(client, end)
    return client, end


# ---- servers ----


def test_server_that_is_added_gets_sessions_and_no_process_is_added(lb):
    a, b = lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    before = (lb.worker_pid, lb.vault_pid)
    old = served(lb, a)
    reload(lb, head(lb) + listen(lb, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    for _ in range(2):  # whose turn it is is known from before
        lb.connects().sends(b"?")
    for server in (a, b):
        server.accepts().reads(b"?")
    talks(*old)
    assert (lb.worker_pid, lb.vault_pid) == before
    lb.stops()


def test_sessions_of_a_removed_server_stay_until_they_end(lb):
    a, b = lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    old = served(lb, a)
    reload(lb, head(lb) + listen(lb, f"server b {b} {CHECK}"))
    for _ in range(4):
        served(lb, b)
    talks(*old)
    old[0].shuts_output()
    old[1].reads_end().closes()
    old[0].reads_end()
    (line,) = lb.logs(r" l/a ")
    assert re.search(r" l l/a \d+/\d+/\d+ \d+ -- ", line.text)
    lb.stops()


def test_sessions_of_a_removed_server_are_killed_when_it_dies(lb):
    a, b = lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    doomed = served(lb, a)
    reload(lb, head(lb) + listen(lb, f"server b {b} {CHECK}"))
    spared = served(lb, b)
    a.dies()
    for peer in doomed:
        peer.reads_reset()
    lb.logs(r"^Server l/a \(no longer configured\) is DOWN, .* 1 sessions active")
    (line,) = lb.logs(r" l/a .* DD ")
    assert " l l/a " in line.text
    talks(*spared)
    lb.stops()


def test_server_at_another_address_is_another_server(lb):
    a, b = lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server s {a} {CHECK}"))
    old = served(lb, a)
    reload(lb, head(lb) + listen(lb, f"server s {b} {CHECK}"))
    new = served(lb, b)
    a.dies()
    for peer in old:
        peer.reads_reset()
    talks(*new)
    assert says(lb, r"Server l/s is DOWN") == 0
    b.dies()
    for peer in new:
        peer.reads_reset()
    lb.logs(r"Server l/s is DOWN, .* 1 sessions active")
    lb.stops()


def test_server_that_comes_back_has_its_sessions_again(lb):
    a, b = lb.server(), lb.server()
    one = head(lb) + listen(lb, f"server a {a} {CHECK}")
    lb.start(one)
    old = served(lb, a)
    reload(lb, head(lb) + listen(lb, f"server b {b} {CHECK}"))
    talks(*old)
    reload(lb, one)
    a.dies()
    for peer in old:
        peer.reads_reset()
    lb.logs(r"Server l/a is DOWN, .* 1 sessions active")
    lb.stops()


def test_states_and_counters_of_what_stays_are_kept(lb):
    a, b = lb.server(), lb.server()
    slow = CHECK.replace("rise 2", "rise 100")
    lb.start(head(lb) + listen(lb, f"server a {a} {slow}", f"server b {b} {slow}"))
    served(lb, a)
    served(lb, b)
    a.dies()
    lb.logs("Server l/a is DOWN")
    a.returns()
    reload(lb, head(lb) + listen(lb, f"server b {b} {slow} weight 7", f"server a {a} {slow}"))
    for _ in range(3):
        served(lb, b)
    assert says(lb, "Server l/a is UP") == 0
    reload(lb, head(lb) + listen(lb, f"server a {a} {CHECK}", f"server b {b} {CHECK}"))
    lb.logs("Server l/a is UP")
    lb.signals(signal.SIGUSR1)
    lb.logs(r"Proxy l stopped \(cumulated conns: FE: 5, BE: 5\)")
    lb.signals(signal.SIGTERM).ends()


def test_counters_of_a_new_server_begin_with_zero(lb):
    """Its number may have been another one's."""
    a, b, c = lb.server(), lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    ended = served(lb, a)
    ended[0].closes()
    ended[1].reads_end().closes()
    lb.sessions()
    for name, server in (("b", b), ("c", c)):
        reload(lb, head(lb) + listen(lb, f"server {name} {server} {CHECK}"))
        served(lb, server)
    os.kill(lb.worker_pid, signal.SIGHUP)
    lb.logs(r"SIGHUP: Server l/c is UP. Conn: 1 act, 0 pend, 1 tot")
    lb.stops()


def test_disabled_in_the_file_counts_when_it_was_edited(lb):
    a, b = lb.server(), lb.server()

    def text(first: str) -> str:
        return head(lb) + listen(lb, f"server a {a} {CHECK} {first}", f"server b {b} {CHECK}")

    lb.start(text(""))
    doomed = served(lb, a)
    reload(lb, text("disabled"))
    for peer in doomed:
        peer.reads_reset()
    lb.logs("Server l/a is going DOWN for maintenance")
    reload(lb, text(""))
    lb.logs(r"Server l/a is UP/READY \(leaving forced maintenance\)")
    lb.stops()


# ---- frontends, listeners, backends ----


def test_proxies_appear_and_disappear_and_their_sessions_are_told_of(lb):
    a, b = lb.server(), lb.server()
    first = listen(lb, f"server a {a}", name="old", port="one")
    lb.start(head(lb) + first)
    lb.port("two")
    old = served(lb, a, "one")
    second = listen(lb, f"server b {b}", name="new", port="two")
    reload(lb, head(lb) + second)
    new = served(lb, b, "two")
    talks(*old)
    wait_until(lambda: _refused(lb, "one"), "nobody listens at the old port")
    old[0].closes()
    old[1].reads_end().closes()
    (line,) = lb.sessions(frontend="old")
    assert (line.backend, line.server) == ("old", "a")
    talks(*new)
    lb.stops()


def _refused(lb: Program, port: str) -> bool:
    try:
        lb.connects(port).closes()
    except ConnectionRefusedError:
        return True
    return False


def test_what_is_gone_survives_a_crash_with_its_name_its_checks_and_its_sessions(lb):
    a, b = lb.server(), lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}", name="old", port="one"))
    lb.port("two")
    doomed, ends = served(lb, a, "one"), served(lb, a, "one")
    reload(lb, head(lb) + listen(lb, f"server b {b} {CHECK}", name="new", port="two"))
    lb.kill_worker()
    talks(*ends)
    ends[0].closes()
    ends[1].reads_end().closes()
    assert lb.sessions(frontend="old")[0].server == "a"
    a.dies()
    for peer in doomed:
        peer.reads_reset()
    lb.logs(r"^Server old/a \(no longer configured\) is DOWN, .* 1 sessions active")
    assert lb.sessions(2, frontend="old")[1].state == "DD"
    served(lb, b, "two")
    lb.stops()


# ---- what does not work changes nothing ----


def test_bad_configuration_changes_nothing_and_says_why(lb):
    a = lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    old = served(lb, a)
    done = reload(lb, head(lb) + listen(lb, "server a 127.0.0.1:99999"), status=1)
    assert "lb.cfg:15" in done.stdout + done.stderr
    talks(*old)
    served(lb, a)
    assert lb.process is not None
    lb.stops()


def test_address_that_is_taken_changes_nothing_and_is_told_once(lb):
    a = lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    old, taken = served(lb, a), str(a).partition(" ")[0]
    done = reload(lb, head(lb) + listen(lb, f"server a {a} {CHECK}", f"bind {taken}"), status=1)
    assert f"Address already in use) for [{taken}]" in done.stderr
    assert done.stderr.count("can not be listened on") == 1
    assert "Exiting" not in done.stderr
    talks(*old)
    served(lb, a)
    lb.stops()


def test_more_servers_than_the_tables_have_room_for(lb):
    """The tables grow on the way; sessions do not notice."""
    a = lb.server()
    lb.start(head(lb) + listen(lb, f"server a {a} {CHECK}"))
    old = served(lb, a)
    many = [f"server s{n} 127.1.{n >> 8}.{n & 255}:9 weight 0" for n in range(1500)]
    reload(lb, head(lb) + listen(lb, f"server a {a} {CHECK}", *many))
    talks(*old)
    served(lb, a)
    a.dies()
    for peer in old:
        peer.reads_reset()
    lb.stops()


def test_log_targets_follow_the_configuration(lb):
    a = lb.server()
    text = head(lb) + listen(lb, f"server a {a} {CHECK}")
    lb.start(text)
    other = Syslog()
    reload(lb, text.replace(str(lb.log), str(other)))
    client, end = served(lb, a)
    client.closes()
    end.reads_end().closes()
    wait_until(lambda: [line for line in other.lines if " l l/a " in line.text], "a line there")
    assert says(lb, " l l/a ") == 0
    lb.stops()
    other.close()
