"""Who is found under which name, who is believed, and what comes through."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lbsplice import rendezvous
from lbsplice.rendezvous import Letter, Outcome, Running, Unreachable, name_of, worker_name

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture
def name(tmp_path):
    return name_of([str(tmp_path / "lb.cfg")])


@contextmanager
def answering(name, obey):
    """Somebody who answers on an event loop of his own."""
    listener = rendezvous.listen(name)
    assert listener is not None
    loop = asyncio.new_event_loop()
    loop.call_soon(rendezvous.serve, loop, listener, obey)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(rendezvous.unserve, loop, listener)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        listener.close()


def echo(letter):
    return {"heard": dict(letter.values)}, letter.descriptors


# ---- names ----


def test_a_name_follows_the_files_wherever_they_are_named_from(tmp_path, monkeypatch):
    (tmp_path / "a.cfg").touch()
    (tmp_path / "link.cfg").symlink_to("a.cfg")
    absolute = name_of([str(tmp_path / "a.cfg")])
    monkeypatch.chdir(tmp_path)
    assert name_of(["a.cfg"]) == name_of(["./link.cfg"]) == absolute
    assert name_of(["a.cfg", "b.cfg"]) != name_of(["b.cfg", "a.cfg"])


def test_a_name_has_one_listener_and_is_free_after_it(name):
    first = rendezvous.listen(name)
    assert rendezvous.listen(name) is None
    first.close()
    second = rendezvous.listen(name)
    assert second is not None
    second.close()


# ---- questions and answers ----


def test_a_question_gets_its_answer(name):
    with answering(name, echo):
        assert rendezvous.ask(name, {"request": "who", "more": [1, "ä"]}, 5) == {
            "heard": {"request": "who", "more": [1, "ä"]}
        }


@pytest.mark.parametrize("count", [0, 1, 200, 201, 700])
def test_any_number_of_descriptors_goes_with_a_question_and_with_its_answer(name, count):
    with answering(name, echo), Path(os.devnull).open() as null:
        given = [os.dup(null.fileno()) for _ in range(count)]
        letter = rendezvous.call(name, {}, 5, given=given)
        assert len(letter.descriptors) == count
        assert len({*given, *letter.descriptors}) == 2 * count
        for each in letter.descriptors:
            assert os.path.samestat(os.fstat(each), os.fstat(null.fileno()))
            assert not os.get_inheritable(each)
        letter.close()
        for each in given:
            os.close(each)


def test_nobody_there_is_told():
    with pytest.raises(Unreachable, match="nobody answers"):
        rendezvous.ask("lbsplice/0000000000000000", {}, 5)


def test_who_does_not_answer_in_time_is_given_up(name):
    with closing(rendezvous.listen(name)), pytest.raises(Unreachable, match=r"within 0\.05 s"):
        rendezvous.ask(name, {}, 0.05)


@pytest.mark.parametrize("said", [b"", b"{}", b"no json\n", b"[]\n", b'{"descriptors": "x"}\n'])
def test_an_answer_that_is_none_is_told(name, said):
    with closing(rendezvous.listen(name)) as listener:
        listener.setblocking(True)

        def answer():
            sock, _ = listener.accept()
            with sock:
                sock.recv(100)
                sock.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unreachable):
            rendezvous.ask(name, {}, 5)
        thread.join()


def test_a_caller_who_talks_nonsense_or_leaves_disturbs_nobody(name):
    with answering(name, echo):
        for said in (b"", b"x\n", b"{", b'{"descriptors": 3}\n'):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(f"\0{name}")
                sock.sendall(said)
        assert rendezvous.ask(name, {"still": "there"}, 5) == {"heard": {"still": "there"}}


def test_a_caller_may_be_answered_later_and_by_the_program_after_an_exec(name):
    with closing(rendezvous.listen(name)) as listener, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(f"\0{name}")
        caller = rendezvous.accept(listener)
        assert caller.pid == os.getpid()
        assert caller.receive() is None
        sock.sendall(b'{"request": "up')
        assert caller.receive() is None
        sock.sendall(b'grade"}\n')
        assert caller.receive().request == rendezvous.UPGRADE
        with closing(rendezvous.Caller.held(os.dup(caller.fileno()))) as held:
            caller.close()
            held.answer(Outcome("no", ("because",)).values())
        sock.settimeout(20)
        assert Outcome.of(rendezvous.json.loads(sock.recv(1000))) == Outcome("no", ("because",))


def test_an_answer_to_a_caller_who_has_left_is_lost(name):
    with closing(rendezvous.listen(name)) as listener:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"\0{name}")
            caller = rendezvous.accept(listener)
        caller.answer({})
        caller.close()
        assert rendezvous.accept(listener) is None


# ---- trust ----


def as_nobody(what):
    """What a child process of another user finds: its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os._exit(what())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_root
def test_another_user_gets_no_answer(name):
    def asks():
        with pytest.raises(Unreachable):
            rendezvous.ask(name, {}, 2)
        return 7

    with answering(name, echo):
        assert as_nobody(asks) == 7


@needs_root
def test_a_process_that_gave_up_its_rights_still_answers_under_the_name_it_took(name):
    with closing(rendezvous.listen(name)) as listener:
        heard, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setresuid(65534, 65534, 65534)
            listener.setblocking(True)
            os.write(told, b"x")
            caller = rendezvous.accept(listener)
            caller._socket.setblocking(True)
            caller.receive()
            caller.answer({"user": os.getuid()})
            os._exit(0)
        os.read(heard, 1)
        assert rendezvous.ask(name, {}, 5) == {"user": 65534}
        os.waitpid(pid, 0)
        os.close(heard)
        os.close(told)


@needs_root
def test_root_believes_another_user_only_when_an_operator_asks(name):
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setresuid(65534, 65534, 65534)
        listener = rendezvous.listen(name)
        listener.setblocking(True)
        os.write(told, b"x")
        while True:
            sock, _ = listener.accept()
            with sock:
                if sock.recv(1000):
                    sock.sendall(b'{"fine": true}\n')
    try:
        os.read(heard, 1)
        with pytest.raises(Unreachable, match="belongs to user 65534"):
            rendezvous.ask(name, {}, 5)
        assert rendezvous.call(name, {}, 5, of_any_user=True).values == {"fine": True}
    finally:
        os.close(heard)
        os.close(told)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


# ---- who is there ----


def test_all_that_run_are_found(name, tmp_path):
    files = [str(tmp_path / "lb.cfg")]

    def supervisor(letter):
        assert letter.request == rendezvous.WHO
        return rendezvous.introduction(rendezvous.SUPERVISOR, 4711, files), ()

    with answering(name, supervisor), closing(rendezvous.listen(worker_name(name))):
        assert rendezvous.who(name) == Running(name, 4711, "supervisor", tuple(files))
        mute = rendezvous.who(worker_name(name), 0.05)
        assert mute == Running(worker_name(name), os.getpid(), "worker", answers=False)
    assert rendezvous.who(name) is None
    with answering(name, supervisor):
        assert Running(name, 4711, "supervisor", tuple(files)) in rendezvous.running()
    assert name not in {one.name for one in rendezvous.running()}


def test_a_letter_gives_its_descriptors_back():
    one, other = os.pipe()
    Letter({}, (one, other)).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one)
