"""Findings in the Static Analysis Results Interchange Format 2.1.0, for code hosts."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from lbsplice import __version__
from lbsplice.config.messages import printable
from lbsplice.config.model import Place
from lbsplice.lint.analysis import Analysis
from lbsplice.lint.finding import Edit, EditKind, Finding
from lbsplice.lint.rules import IDS, RULES

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(analysis: Analysis) -> str:
    """One run with every finding. The detection times are not findings and not in it."""
    driver = {
        "name": "lbsplice lint",
        "version": __version__,
        "rules": [
            {
                "id": rule.id,
                "shortDescription": {"text": rule.title},
                "help": {"text": f"{rule.title}: see docs/lint/{rule.id}.md of lbsplice"},
            }
            for rule in RULES
        ],
    }
    return json.dumps(
        {
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {"driver": driver},
                    "columnKind": "unicodeCodePoints",
                    "results": [_result(finding) for finding in analysis.findings],
                }
            ],
        },
        indent=2,
    )


def _result(finding: Finding) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": IDS.index(finding.rule),
        "level": finding.severity.value,
        "message": {"text": f"{printable(finding.message)}. Change: {printable(finding.change)}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": _artifact(finding.place),
                    "region": {"startLine": finding.place.line},
                }
            }
        ],
    }
    if finding.edits and all(edit.text == printable(edit.text) for edit in finding.edits):
        result["fixes"] = [
            {
                "description": {"text": printable(finding.change)},
                "artifactChanges": [_change(edit) for edit in finding.edits],
            }
        ]
    return result


def _artifact(place: Place) -> dict[str, str]:
    if place.file == "-":
        return {"uri": "stdin"}
    path = PurePath(place.file)
    prefix = "file://" if path.is_absolute() else ""
    return {"uri": prefix + quote(path.as_posix().encode("utf-8", "surrogateescape"))}


def _change(edit: Edit) -> dict[str, Any]:
    line = edit.place.line
    if edit.kind is EditKind.BEFORE:
        region = {"startLine": line, "startColumn": 1, "endLine": line, "endColumn": 1}
        text = edit.text + "\n"
    else:
        region = {"startLine": line}  # all of it but its end
        text = edit.text
    return {
        "artifactLocation": _artifact(edit.place),
        "replacements": [{"deletedRegion": region, "insertedContent": {"text": text}}],
    }
