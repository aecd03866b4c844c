"""Something that answers as a running lbsplice does, and the command line."""

from contextlib import ExitStack

import pytest
from click.testing import CliRunner

from lbsplice.cli.main import commands
from tests.support.running import start


@pytest.fixture
def run(tmp_path):
    """Run one: tests.support.running.start."""
    with ExitStack() as stack:
        yield lambda *words, **options: start(stack, tmp_path, *words, **options)


@pytest.fixture
def call():
    """Run the command line in this process."""

    def called(*words, **options):
        return CliRunner().invoke(commands, [str(word) for word in words], **options)

    return called
