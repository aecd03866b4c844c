"""What the kernel tells of one TCP connection (`struct tcp_info` of linux/tcp.h).

Kernels differ in its length: each tells as much as it knows."""

from __future__ import annotations

import ctypes

_Byte, _Word, _Long = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_uint64


class _Layout(ctypes.Structure):
    _fields_ = (
        ("state", _Byte),
        ("ca_state", _Byte),
        ("retransmits", _Byte),
        ("probes", _Byte),
        ("backoff", _Byte),
        ("options", _Byte),
        ("window_scales", _Byte),
        ("flags", _Byte),
        ("rto", _Word),
        ("ato", _Word),
        ("snd_mss", _Word),
        ("rcv_mss", _Word),
        ("unacked", _Word),
        ("sacked", _Word),
        ("lost", _Word),
        ("retrans", _Word),
        ("fackets", _Word),
        ("last_data_sent", _Word),
        ("last_ack_sent", _Word),
        ("last_data_recv", _Word),
        ("last_ack_recv", _Word),
        ("pmtu", _Word),
        ("rcv_ssthresh", _Word),
        ("rtt", _Word),
        ("rttvar", _Word),
        ("snd_ssthresh", _Word),
        ("snd_cwnd", _Word),
        ("advmss", _Word),
        ("reordering", _Word),
        ("rcv_rtt", _Word),
        ("rcv_space", _Word),
        ("total_retrans", _Word),
        ("pacing_rate", _Long),
        ("max_pacing_rate", _Long),
        ("bytes_acked", _Long),
        ("bytes_received", _Long),
        ("segs_out", _Word),
        ("segs_in", _Word),
        ("notsent_bytes", _Word),
        ("min_rtt", _Word),
    )


SIZE = ctypes.sizeof(_Layout)
"""As far as the layout is known here; a newer kernel tells more."""


class TcpInfo:
    """One answer of the kernel, of whatever length."""

    __slots__ = ("_layout", "_told")

    def __init__(self, data: bytes) -> None:
        self._told = len(data)
        self._layout = _Layout.from_buffer_copy(data.ljust(SIZE, b"\0"))

    def get(self, name: str) -> int | None:
        """A field, named without `tcpi_`; None where this kernel does not tell it."""
        field = getattr(_Layout, name)
        if field.offset + field.size > self._told:
            return None
        value: int = getattr(self._layout, name)
        return value
