"""The line protocol over a real socket, the commands that are about the conversation itself,
and help."""

from __future__ import annotations

import pytest

from lbsplice.admin import change_commands, commands_cli, own_commands, show_commands
from lbsplice.admin.commands_all import table
from tests.support.admin_socket import ask, connect, read_all, read_until

NO_SERVER = "No such server.\n\n"


class TestTheConversation:
    def test_one_line_of_several_commands(self, say):
        assert say("get weight l/s1;set weight l/s1 2;get weight l/s1 ; echo x") == (
            "1 (initial 1)\n\n\n1 (initial 1)\n\nx\n\n"
        )

    def test_one_line_and_no_more(self, say):
        assert say("echo a\necho b") == "a\n\n"

    def test_the_client_need_not_close(self, admin, directory):
        with connect(directory / "admin") as sock:
            sock.sendall(b"echo a\n")
            assert read_all(sock) == b"a\n\n"

    def test_what_follows_the_line_does_not_make_the_end_a_reset(self, admin, directory):
        with connect(directory / "admin") as sock:
            sock.sendall(b"echo a\n" + b"echo b\n" * 5000)
            assert read_all(sock) == b"a\n\n"

    def test_a_command_without_its_newline_is_not_obeyed(self, admin, directory):
        assert ask(directory / "admin", "set weight l/s1 1") == ""
        assert admin.control.asked == []

    def test_a_command_in_pieces(self, admin, directory):
        with connect(directory / "admin") as sock:
            for piece in (b"ec", b"ho ", b"a", b"\r", b"\n"):
                sock.sendall(piece)
            assert read_all(sock) == b"a\n\n"

    def test_quit_says_nothing(self, say):
        assert say("quit") == ""
        assert say("echo a;quit;echo b") == "a\n\n"

    def test_a_prompt_keeps_it_open(self, admin, directory):
        with connect(directory / "admin") as sock:
            sock.sendall(b"prompt\n")
            assert read_until(sock, b"> ") == b"\n> "
            sock.sendall(b"echo a;set weight l/s1 3\n")
            assert read_until(sock, b"\n\n> \n> ") == b"a\n\n> \n> "
            sock.sendall(b"prompt\n")
            assert read_all(sock) == b"\n"

    def test_a_prompt_and_commands_at_once(self, say):
        assert say("prompt\necho a\necho b\nquit\necho c") == "\n> a\n\n> b\n\n> "

    def test_interactive_without_a_prompt(self, say):
        assert say("prompt i\necho a\necho b") == "\na\n\nb\n\n"

    def test_interactive_no_more(self, say):
        assert say("prompt p\nprompt n\necho b") == "\n> \n"

    def test_a_prompt_with_the_time(self, say):
        assert say("prompt timed\nquit") == "\n[0:01:02:05]> "

    def test_help_of_the_prompt(self, say):
        assert say("prompt help").startswith("Usage: prompt [help | n | i | p | timed]*\n")
        assert say("prompt bogus").startswith("Usage: prompt")

    def test_a_payload_with_a_prompt(self, admin, directory):
        with connect(directory / "admin") as sock:
            sock.sendall(b"prompt\n")
            read_until(sock, b"> ")
            sock.sendall(b"get weight l/s1 <<\n")
            assert read_until(sock, b"+ ") == b"+ "
            sock.sendall(b"x\n")
            assert read_until(sock, b"+ ") == b"+ "
            sock.sendall(b"\n")
            assert read_until(sock, b"> ") == b"1 (initial 1)\n\n> "

    def test_a_payload_without_a_prompt(self, say):
        assert say("echo a <<END\nx\n\nEND") == "a\n\n"

    @pytest.mark.parametrize(
        ("command", "answer"),
        [
            ("set timeout", "'set timeout' only supports 'cli'.\n\n"),
            ("set timeout x 5", "'set timeout' only supports 'cli'.\n\n"),
            ("set timeout cli", "Expects an integer value.\n\n"),
            ("set timeout cli x", "Invalid timeout value.\n\n"),
            ("set timeout cli 0", "Invalid timeout value.\n\n"),
            ("set timeout cli 5", "\n"),
            ("set timeout cli 1d", "\n"),
            ("set severity-output", "one of 'none', 'number', 'string' is a required argument\n\n"),
            ("expert-mode", "expert-mode is OFF\n\n"),
            ("expert-mode on;expert-mode", "\nexpert-mode is ON\n\n"),
            ("experimental-mode", "experimental-mode is OFF\n\n"),
            ("echo a  b", "a b\n\n"),
            (r"echo a\ \ b\;c", "a  b;c\n\n"),
            ("echo", "\n\n"),
            ("@1 echo a", "a\n\n"),
            ("@1", "\n"),
        ],
    )
    def test_words_about_itself(self, say, command, answer):
        assert say(command) == answer

    def test_how_severe(self, say):
        assert say("set weight l/s1 x;get weight l/s1;show cli level", "numbers") == (
            "[3]: Empty weight string empty or preceded by garbage\n\n"
            "1 (initial 1)\n\n[6]: admin\n\n"
        )
        assert say("set severity-output string;set server l/s1 state x") == (
            "\n[err]: 'set server <srv> state' expects 'ready', 'drain' and 'maint'.\n\n"
        )
        assert say("set severity-output none;set weight l/q 1", "numbers") == f"\n{NO_SERVER}"

    def test_the_sockets(self, say, directory):
        assert say("show cli sockets", "user") == (
            "# socket lvl processes\n"
            f"unix@{directory}/admin admin all\n"
            f"unix@{directory}/operator operator all\n"
            f"unix@{directory}/user user all\n"
            f"unix@{directory}/numbers admin all\n\n"
        )


class TestHelp:
    USUAL = (
        "  help [<command>]                        : what commands there are\n"
        "  prompt [help | n | i | p | timed ]*     : stay connected, with or without a prompt\n"
        "  quit                                    : end the connection\n\n"
    )
    SHOW_CLI = (
        "  show cli level                          : what this connection may do\n"
        "  show cli sockets                        : the stats sockets and their levels\n"
    )

    def test_of_some(self, say):
        assert say("help show cli") == (
            f"The following commands are valid at this level:\n{self.SHOW_CLI}{self.USUAL}"
        )

    @pytest.mark.parametrize("words", ["show cli", "show cli bogus"])
    def test_a_command_that_there_is_not(self, say, words):
        assert say(words) == (
            "Unknown command: 'show', but maybe one of the following ones is a better match:\n"
            f"{self.SHOW_CLI}{self.USUAL}"
        )

    def test_what_was_begun_is_completed(self, say):
        assert "\n  show servers state " in say("show serv")
        assert "\n  set server " in say("set serv")

    def test_what_was_mistyped_is_guessed(self, say):
        assert "\n  set weight " in say("set wieght l/s1 3")
        assert "\n  show version " in say("sho version")

    @pytest.mark.parametrize("nothing", ["", "  ", ";"])
    def test_nothing(self, say, nothing):
        said = say(nothing)
        title = "Unknown command: ''. Please enter one of the following commands only:\n"
        assert said.startswith(title)
        assert said.endswith(self.USUAL)

    def test_every_command_is_in_its_place(self, say):
        lines = say("help").splitlines()[1:-4]
        assert lines == sorted(lines)
        for line in lines:
            assert line.startswith("  ")
            assert line.find(": ") >= 42, line

    def test_no_two_commands_have_the_same_words(self):
        tables = (change_commands, commands_cli, own_commands, show_commands)
        words = [each.words for one in tables for each in one.COMMANDS]
        assert sorted(set(words)) == sorted(words)
        assert all(table().find(each) is not None for each in words)
