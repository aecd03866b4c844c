"""Sockets that systemd hands over, by its environment variables."""

from __future__ import annotations

import os

import pytest

from lbsplice import activation
from lbsplice.config.model import AddressKind, Endpoint
from tests.support.configs import bind, config, frontend

OURS = str(os.getpid())


@pytest.mark.parametrize(
    ("environ", "numbers"),
    [
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, (3, 4)),
        ({"LISTEN_PID": "1", "LISTEN_FDS": "2"}, ()),
        ({"LISTEN_PID": OURS}, ()),
        ({"LISTEN_PID": OURS, "LISTEN_FDS": "many"}, ()),
        ({"LISTEN_FDS": "2"}, ()),
        ({}, ()),
    ],
)
def test_they_are_ours_only_if_they_were_meant_for_this_process(environ, numbers):
    environ["PATH"] = "/bin"
    assert activation.take(environ) == numbers
    assert environ == {"PATH": "/bin"}, "a program that we start must not take them for its own"


def test_one_that_no_bind_names_is_a_warning():
    used = bind(Endpoint(AddressKind.FD, "3"))
    (warning,) = activation.unused(config(frontend(used, bind())), (3, 4))
    assert "bind fd@4" in warning
