"""User bytes never enter our memory: a worker is traced while it moves data both ways, and
makes no read, recv, write or send on any socket. What moves them is splice."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.support.peers import Listener, Peer, connected

ROOT = Path(__file__).resolve().parents[2]
LARGEST_PIPE = 1 << 20
DATA = random.Random(17).randbytes(3 << 20)

WORKER = """
import sys
from tests.support.dataplane import Rig
with Rig(0, addresses=(bytes.fromhex(sys.argv[1]),), threads=2) as lb:
    print(lb.address[1], flush=True)
    sys.stdin.read()
    print(lb.counters.workers().spliced_bytes, flush=True)
"""

COPYING = (
    "read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 sendfile "
    "recvfrom recvmsg recvmmsg sendto sendmsg sendmmsg"
)
"""Every call that carries a socket's bytes through a process's memory or page cache."""

CALL = re.compile(r"^(?P<name>\w+)\((?P<fd>\d+)<(?P<what>[^>]*)>")


def traced_calls(directory: Path) -> Counter[tuple[str, str]]:
    """(call, kind of its first descriptor) of all threads, each in a file of its own."""
    calls: Counter[tuple[str, str]] = Counter()
    for path in directory.glob("trace.*"):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := CALL.match(line):
                kind = re.sub(r":?\[.*", "", found["what"])
                calls[found["name"], kind] += 1
    return calls


def moves_both_ways(client: Peer, server: Peer) -> None:
    up = threading.Thread(target=client.sends, args=(DATA,))
    down = threading.Thread(target=server.sends, args=(DATA[::-1],))
    up.start()
    down.start()
    drained: list[bytes] = []
    reader = threading.Thread(target=lambda: drained.append(server.reads_count(len(DATA))))
    reader.start()
    assert client.reads_count(len(DATA)) == DATA[::-1]
    for thread in (up, down, reader):
        thread.join()
    assert drained == [DATA]


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_worker_never_copies_a_users_byte(tmp_path: Path) -> None:
    server = Listener()
    trace = ["strace", "-ff", "-y", "-o", str(tmp_path / "trace"), "-e"]
    calls = ",".join([*COPYING.split(), "splice", "accept4", "connect", "tee", "vmsplice"])
    worker = subprocess.Popen(
        [*trace, f"trace={calls}", sys.executable, "-c", WORKER, server.address.hex()],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdin
        assert worker.stdout
        port = int(worker.stdout.readline())
        pairs = []
        for _ in range(4):
            client = connected(("127.0.0.1", port))
            pairs.append((client, server.accepts()))
        for client, peer in pairs[:2]:
            moves_both_ways(client, peer)
        # Every way to end has its code: clean, reset by either side, answer and reset.
        pairs[0][0].sends(b"ask").shuts_output()
        pairs[0][1].reads(b"ask").reads_end().sends(b"answer").closes()
        pairs[0][0].reads(b"answer").reads_end()
        pairs[1][0].resets()
        pairs[1][1].reads_reset()
        pairs[2][1].resets()
        pairs[2][0].reads_reset()
        pairs[3][0].sends(b"unread")
        pairs[3][1].socket.recv(1, socket.MSG_PEEK)
        pairs[3][1].sends(b"answer").closes()
        assert pairs[3][0].reads_until_reset() == b"answer"
        worker.stdin.close()
        moved = int(worker.stdout.readline())
        assert worker.wait(20) == 0
    finally:
        worker.kill()
        worker.wait()
        if worker.stdout:
            worker.stdout.close()
        for client, peer in pairs:
            client.closes()
            peer.closes()
        server.closes()
    assert moved >= 4 * len(DATA)
    calls_made = traced_calls(tmp_path)
    sockets = {"socket", "TCP", "TCPv6", "UDP", "UNIX", "UNIX-STREAM"}
    copied = {
        call: n for call, n in calls_made.items() if call[0] in COPYING and call[1] in sockets
    }
    assert not copied, f"calls that copy: {copied}"
    # The trace saw the worker: its accepts, its connects and its splices from sockets.
    assert sum(n for (name, _), n in calls_made.items() if name == "accept4") >= 4
    assert sum(n for (name, _), n in calls_made.items() if name == "connect") == 4
    # Every byte came out of a socket by splice, at most a large pipe's 1 MiB at a time.
    spliced = calls_made["splice", "socket"] + calls_made["splice", "TCP"]
    assert spliced >= 4 * len(DATA) / LARGEST_PIPE
