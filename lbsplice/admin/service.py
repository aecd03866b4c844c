"""What the command language, the statistics page and the metrics work on, over a running
control plane: what can be seen of it, and what can be changed."""

from __future__ import annotations

from lbsplice.admin.changes import Changes


class AdminService(Changes):
    """A Control. Made once, with the orchestrator; `start` on the running loop, `close`
    before the loop ends."""
