"""What HAProxy's stats socket answers, in the shapes of several versions, and asking it."""

import socket
import threading

import pytest

from lbsplice.errors import EnvironmentLacks
from lbsplice.stuck.line import HeldLine, LineLost, MasterLine
from lbsplice.stuck.statements import (
    Load,
    ServerState,
    SessionLine,
    WorkerInfo,
    read_info,
    read_loads,
    read_servers,
    read_sessions,
    read_workers,
)

STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord
2 l 1 v 192.168.1.29 {op} {admin} 1 1 17 6 3 3 6 0 0 0 - 81 -

"""


@pytest.mark.parametrize(
    ("op", "admin", "down"),
    [(0, 0, True), (2, 0, False), (1, 0, False), (3, 0, False), (0, 8, True)]
    + [(0, bit, False) for bit in (1, 2, 4, 32)],
)
def test_down_is_what_the_checks_say(op, admin, down):
    (server,) = read_servers(STATE.format(op=op, admin=admin))
    assert server == ServerState(("l", "v"), "192.168.1.29", 81, down, 17)


def test_an_answer_that_is_none_holds_no_server():
    assert read_servers("Unknown command\n") == []
    assert read_servers("") == []


OF_2_6 = (
    "0x55af74025bf0: proto=tcpv4 src=192.168.1.35:57584 fe=l be=l srv=v ts=00 epoch=0 age=0s"
    " calls=2 rate=0 cpu=0 lat=0 rq[f=848202h,i=0,an=00h,rx=1h,wx=,ax=]"
    " rp[f=80048202h,i=0,an=00h,rx=1h,wx=,ax=] scf=[8,0h,fd=12] scb=[8,1h,fd=11] exp=4s rc=0"
)
OF_3_2 = (
    "0x55af74025bf0: proto=tcpv4 src=192.168.1.35:57584 fe=l be=l srv=v ts=00 epoch=0 age=0s"
    " calls=2 rate=0 cpu=0 lat=0 rq[f=848101h,i=0,an=00h,ax=] rp[f=80048202h,i=0,an=00h,ax=]"
    " scf=[8,0h,fd=1/12,rex=59m59s,wex=] scb=[8,1h,fd=1/11,rex=,wex=] exp=1s rc=0 c_exp="
)
OF_2_4 = (
    "0x55af74025bf0: proto=tcpv4 src=192.168.1.35:57584 fe=l be=l srv=v ts=00 age=0s calls=2"
    " rate=0 cpu=0 lat=0 rq[f=848202h,i=0,an=00h,rx=1h,wx=,ax=]"
    " rp[f=80048202h,i=0,an=00h,rx=1h,wx=,ax=] s0=[8,0h,fd=12,ex=] s1=[8,1h,fd=11,ex=] exp=4s"
)
OF_CLI = (
    "0x55af74140a70: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 epoch=0"
    " age=0s calls=1 rate=0 cpu=0 lat=0 rq[f=c08000h,i=0] rp[f=80008002h,i=0]"
    " scf=[8,200h,fd=13] scb=[8,1h,fd=-1] exp= rc=0 c_exp="
)


@pytest.mark.parametrize("line", [OF_2_4, OF_2_6, OF_3_2])
def test_sessions_of_all_versions_are_read(line):
    expected = SessionLine(("l", "v"), ("192.168.1.35", 57584), 12, 11)
    assert read_sessions(f"{OF_CLI}\n{line}\n\n") == [expected]


@pytest.mark.parametrize(
    ("src", "client"),
    [
        ("2001:db8::5:4000", ("2001:db8::5", 4000)),
        ("::ffff:10.0.0.9:4000", ("10.0.0.9", 4000)),
        ("unix:1", ("unix", 1)),
        ("<unknown>", None),
    ],
)
def test_the_clients_address_is_read(src, client):
    (session,) = read_sessions(OF_3_2.replace("192.168.1.35:57584", src))
    assert session.client == client


def test_loads_are_found_by_name():
    answer = "# pxname,svname,qcur,qmax,scur,mode,\nl,FRONTEND,,,3,tcp,\nl,v,0,0,2,http,\n\n"
    assert read_loads(answer)["l", "v"] == Load(2, "http")


def test_the_state_of_a_worker_is_read():
    answer = "Name: HAProxy\nPid: 12936\nCurrConns: 1\nStopping: 1\nUnstoppable Jobs: 1\n"
    assert read_info(answer) == WorkerInfo(12936, True, 1)
    assert read_info("Unknown command") is None


def test_a_master_tells_its_workers():
    answer = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
        "12931           master          1 [failed: 0]   0d00h00m03s     2.6.12\n"
        "# workers\n12951           worker          0               0d00h00m02s     2.6.12\n"
        "# old workers\n12936           worker          1               0d00h00m03s     2.6.12\n"
        "# programs\n\n"
    )
    assert read_workers(answer) == [12951, 12936]


@pytest.fixture
def speaking(tmp_path):
    """A stats socket that says what it is given, chunk by chunk, to each connection."""
    path = str(tmp_path / "stats.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    threads = []

    def speak(*chunks):
        def serve():
            end, _ = listener.accept()
            with end:
                for chunk in chunks:
                    end.recv(1024)
                    for part in chunk:
                        end.sendall(part)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return path

    yield speak
    for thread in threads:
        thread.join(5)
    listener.close()


def test_a_held_line_is_asked_again_and_again(speaking):
    path = speaking([b"\n> "], [b"a: 1\n", b"b", b": 2\n", b"\n> "], [b"c\n\n> "])
    line = HeldLine(path)
    assert line.ask("show info") == "a: 1\nb: 2\n"
    assert line.ask("show stat") == "c\n"
    line.close()


def test_a_line_whose_worker_goes_is_lost(speaking):
    line = HeldLine(speaking([b"\n> "], [b"half an ans"]))
    with pytest.raises(LineLost):
        line.ask("show info")
    line.close()


def test_a_socket_of_too_low_a_level_is_told(speaking):
    line = HeldLine(speaking([b"\n> "], [b"Permission denied\n\n> "]))
    with pytest.raises(EnvironmentLacks, match="level operator"):
        line.ask("show sess")
    line.close()


def test_a_master_is_asked_in_one_go(speaking):
    assert MasterLine(speaking([b"Pid: ", b"5\n\n"]), 5).ask("show info") == "Pid: 5\n\n"
    with pytest.raises(LineLost, match="No such file"):
        MasterLine("/nowhere").ask("show proc")
