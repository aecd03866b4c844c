from __future__ import annotations

from pathlib import Path

import pytest

from lbsplice.config.files import Source, read_sources
from lbsplice.config.messages import Message, Severity, printable, render
from lbsplice.config.model import Place
from lbsplice.errors import ConfigError


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            Message(Severity.ALERT, "unknown keyword 'x'", Place("bad.cfg", 4)),
            "[ALERT]    (1909) : config : parsing [bad.cfg:4] : unknown keyword 'x'",
        ),
        (
            Message(Severity.WARNING, "missing timeouts for proxy 'l'."),
            "[WARNING]  (1909) : config : missing timeouts for proxy 'l'.",
        ),
        (
            Message(Severity.NOTICE, "lbsplice version is 1", area=""),
            "[NOTICE]   (1909) : lbsplice version is 1",
        ),
    ],
)
def test_shape(message: Message, text: str) -> None:
    assert render(message, 1909) == text


def test_a_configuration_can_not_move_the_cursor() -> None:
    assert printable("a\x1b[2J\tb\n\udcff\u202e\xe9") == "a\\x1b[2J\tb\n\\xff\\u202e\xe9"


def test_files_and_directories_in_order(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("20.cfg", "10.cfg", "note.txt", ".hidden.cfg"):
        (tmp_path / "d" / name).write_text(f"# {name}\n")
    (tmp_path / "d" / "sub.cfg").mkdir()
    (tmp_path / "one").write_bytes(b"# \xff\n")

    sources = read_sources([str(tmp_path / "one"), str(tmp_path / "d")])

    assert sources == (
        Source(str(tmp_path / "one"), "# \udcff\n"),
        Source(str(tmp_path / "d" / "10.cfg"), "# 10.cfg\n"),
        Source(str(tmp_path / "d" / "20.cfg"), "# 20.cfg\n"),
    )


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_sources([str(tmp_path / "none")])
    assert str(caught.value) == (
        f"Could not open configuration file {tmp_path}/none : No such file or directory"
    )


def test_a_file_without_an_end() -> None:
    with pytest.raises(ConfigError, match="/dev/zero is longer than 64 MiB"):
        read_sources(["/dev/zero"])
