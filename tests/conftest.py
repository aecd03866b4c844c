"""What all tests share.

No example of hypothesis has a deadline, so that a busy machine fails none. Who starts the
run in the background of a shell that has no jobs gives it an ignored SIGINT, which every
program that a test starts would inherit."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
