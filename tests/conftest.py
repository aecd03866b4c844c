"""What all tests share: no example of hypothesis has a deadline, so that a busy machine
fails none."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", parent=settings(), deadline=None)
settings.load_profile("patient")
