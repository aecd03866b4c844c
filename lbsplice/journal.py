"""The memory of the control plane, in a memfd that outlives the process that writes it.

The file is a head with two entries, and two copies of one JSON object, written in turn.
An entry names a copy: its sequence number, place, length and checksum, and a checksum of
the entry itself. It is written after its copy, over the entry of the older one, and no
copy is written where the newer one is. So a death at any instruction leaves the newest
complete copy to be read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any
from zlib import crc32

_ENTRY = Struct("=8sQQQI")
_CHECK = Struct("=I")
_ENTRY_BYTES = 64
_MAGIC = b"lbsplicJ"
_HEAD_BYTES = 2 * _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class _Entry:
    index: int
    sequence: int = 0  # 0: no copy was ever written
    offset: int = _HEAD_BYTES
    length: int = 0
    checksum: int = 0


class Journal:
    """The journal in the memfd `fd`, which stays the caller's. One process writes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Journal:
        """An empty one in a new memfd. OSError if there is none to be had."""
        return cls(os.memfd_create("lbsplice-journal", os.MFD_CLOEXEC))

    def write(self, state: Mapping[str, object]) -> None:
        """Replace what is remembered. OSError if there is no memory for it: what was
        remembered before is still there then."""
        self.write_text(json.dumps(state, separators=(",", ":")))

    def write_text(self, state: str) -> None:
        """The same with the JSON of such an object."""
        text = state.encode()
        newest, oldest = self._copies()
        offset = _HEAD_BYTES
        if newest.length and offset + len(text) > newest.offset:
            offset = newest.offset + newest.length
        _write_all(self.fd, text, offset)
        entry = _ENTRY.pack(_MAGIC, newest.sequence + 1, offset, len(text), crc32(text))
        _write_all(self.fd, entry + _CHECK.pack(crc32(entry)), oldest.index * _ENTRY_BYTES)

    def read(self) -> dict[str, Any] | None:
        """What was written last; None if nothing ever was, or if nothing of it is whole."""
        for entry in self._copies():
            if entry.sequence and (text := self._text(entry)) is not None:
                state = json.loads(text)
                if isinstance(state, dict):
                    return state
        return None

    def _copies(self) -> tuple[_Entry, _Entry]:
        """The newest whole copy and the other one."""
        found = sorted((self._entry(0), self._entry(1)), key=lambda each: -each.sequence)
        if found[0].sequence and self._text(found[0]) is None:
            found.reverse()
        return found[0], found[1]

    def _entry(self, index: int) -> _Entry:
        raw = os.pread(self.fd, _ENTRY.size + _CHECK.size, index * _ENTRY_BYTES)
        packed, check = raw[: _ENTRY.size], raw[_ENTRY.size :]
        if len(check) < _CHECK.size or _CHECK.unpack(check)[0] != crc32(packed):
            return _Entry(index)
        magic, *fields = _ENTRY.unpack(packed)
        return _Entry(index, *fields) if magic == _MAGIC else _Entry(index)

    def _text(self, entry: _Entry) -> bytes | None:
        text = os.pread(self.fd, entry.length, entry.offset)
        return text if len(text) == entry.length and crc32(text) == entry.checksum else None


def _write_all(fd: int, data: bytes, offset: int) -> None:
    """pwrite(2) on a memfd grows it; a write is short only when memory is."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
