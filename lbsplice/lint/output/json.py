"""Findings and detection times as one JSON object. Times are milliseconds; null is never."""

from __future__ import annotations

import json
from typing import Any

from lbsplice.config.messages import printable
from lbsplice.config.model import Place
from lbsplice.lint.analysis import Analysis
from lbsplice.lint.detect import Detection
from lbsplice.lint.finding import Finding

VERSION = 1
"""Goes up when a field changes its meaning or goes away."""


def as_json(analysis: Analysis) -> str:
    """The whole analysis."""
    return json.dumps(
        {
            "version": VERSION,
            "files": [printable(source.name) for source in analysis.sources],
            "host": printable(analysis.host.sysctls.origin),
            "findings": [_finding(finding) for finding in analysis.findings],
            "suppressed": analysis.suppressed,
            "detection": [_detection(found) for found in analysis.detections],
            "notes": [{**_place(n.place), "text": printable(n.text)} for n in analysis.notes],
        },
        indent=2,
    )


def _place(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {"file": None, "line": None}
    return {"file": printable(place.file), "line": place.line}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.rule,
        "severity": finding.severity.value,
        **_place(finding.place),
        "message": printable(finding.message),
        "change": printable(finding.change),
        "page": f"docs/lint/{finding.rule}.md",
        "fixable": bool(finding.edits),
    }


def _detection(found: Detection) -> dict[str, Any]:
    path = found.path
    return {
        "frontend": printable(path.frontend.name),
        "backend": printable(path.backend.name),
        "server": printable(path.server.name),
        **_place(path.server.place),
        "mode": printable(path.backend.mode),
        "connect_ms": found.connect_ms,
        "connect_attempts": found.attempts,
        "refused_ms": list(found.refused) if found.refused else None,
        "estimates": [
            {
                "dies": estimate.side.value,
                "sessions": estimate.session.value,
                "best_ms": estimate.best_ms,
                "worst_ms": estimate.worst_ms,
                "decided_by": printable(estimate.setting),
                "place": _place(estimate.place),
            }
            for estimate in found.estimates
        ],
    }
