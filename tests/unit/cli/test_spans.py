"""The examples in what commands are made of are true."""

import doctest

import pytest

from lbsplice.admin import spans
from lbsplice.cli import top_model
from lbsplice.kernel import sockdiag


@pytest.mark.parametrize("module", [spans, top_model, sockdiag])
def test_examples_hold(module):
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
