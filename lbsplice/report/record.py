"""What a worker tells about one session: an event, as a value.

The fields are those of `lbs_event` in native/api.h, in its order; a test holds the two
equal. Kept as plain integers because twenty thousand of them may come in a second."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

LAYOUT = Struct("=8B2H3I2Q3q2Q8I16s16s")

SESSION_ENDED = 1
SESSION_CONNECTED = 2
PLAN_TAKEN = 3
KILLED = 4
ACCEPT_PAUSED = 5
STOPPED = 6


class Record(NamedTuple):
    kind: int
    cause: int  # the letter's code, as is `phase`
    phase: int
    thread: int
    client_family: int  # socket.AF_INET, AF_INET6 or AF_UNIX
    destination_family: int
    redispatched: int
    reserved: int
    client_port: int
    destination_port: int
    retries: int
    number: int
    amount: int
    serial: int
    accepted_wall_ms: int
    queue_ms: int
    connect_ms: int
    total_ms: int
    bytes_from_client: int
    bytes_from_server: int
    listener: int
    frontend: int
    backend: int
    slot: int
    process_sessions: int
    frontend_sessions: int
    backend_sessions: int
    slot_sessions: int
    client_ip: bytes  # IPv4: the first four bytes
    destination_ip: bytes
