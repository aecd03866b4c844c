"""Tables have room for what reloads bring, and say so when they have not."""

from __future__ import annotations

import pytest

from lbsplice.errors import NeedsRoom
from lbsplice.limits import Limits
from lbsplice.plan.inventory import Inventory
from lbsplice.rooms import check_room, sizes_for
from tests.unit.config_reading import TIMEOUTS, config

LIMITS = Limits(maxconn=100, max_pipes=40, descriptors=1000)


def servers(count, host=1):
    lines = "".join(f" server s{n} 10.{host}.{n >> 8}.{n & 255}:1\n" for n in range(count))
    return config(f"listen l\n{TIMEOUTS} bind 127.0.0.1:80\n{lines}")


def test_a_configuration_whose_servers_all_change_fits_in_twice():
    inventory = Inventory.first(servers(400))
    sizes = sizes_for(inventory.config, 2, LIMITS)
    for host in (2, 3):
        inventory = inventory.after(servers(400, host))
        check_room(inventory.numbers, sizes, LIMITS)


def test_too_many_servers_need_room():
    sizes = sizes_for(servers(1), 2, LIMITS)
    with pytest.raises(NeedsRoom, match="room for 1024 servers, 1025 are needed"):
        check_room(Inventory.first(servers(1025)).numbers, sizes)


@pytest.mark.parametrize(
    ("limits", "what"),
    [(Limits(101, 40, 1), r"100 sessions \(maxconn\), 101"), (Limits(9, 41, 1), "40 pipes, 41")],
)
def test_higher_limits_need_room(limits, what):
    sizes = sizes_for(servers(1), 2, LIMITS)
    with pytest.raises(NeedsRoom, match=what):
        check_room(Inventory.first(servers(1)).numbers, sizes, limits)
