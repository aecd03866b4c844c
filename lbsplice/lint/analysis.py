"""Configuration text into findings and the table of detection times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lbsplice.config.files import Source
from lbsplice.lint.build import build
from lbsplice.lint.detect import Detection, detect
from lbsplice.lint.facts import Host
from lbsplice.lint.finding import Finding, Severity, Subject
from lbsplice.lint.model import Model
from lbsplice.lint.reader import Note, read
from lbsplice.lint.rules import IDS, RULES
from lbsplice.sysctl.values import Sysctls


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the linter says of a configuration. `suppressed` counts the findings that a
    comment has silenced."""

    sources: tuple[Source, ...]
    model: Model
    findings: tuple[Finding, ...]
    suppressed: int
    detections: tuple[Detection, ...]
    notes: tuple[Note, ...]
    host: Host

    def worst(self) -> Severity | None:
        """The gravest severity, or None if nothing was found."""
        return max((f.severity for f in self.findings), key=lambda s: s.rank, default=None)


def analyse(
    sources: Sequence[Source], env: Mapping[str, str], sysctls: Sysctls, rtt_ms: float = 1.0
) -> Analysis:
    """Look at all files as one configuration, on a machine with these sysctls. Raises
    `ConfigError` only for sysctls that are no numbers."""
    document = read(sources, env)
    model = build(document)
    host = Host(sysctls)
    detections = tuple(detect(model, path, host) for path in model.paths())
    subject = Subject(model, host, detections, rtt_ms)
    found = [finding for rule in RULES for finding in rule.look(subject)]
    kept = [f for f in found if not document.suppressions.cover(f.rule, f.place)]
    order = {source.name: position for position, source in enumerate(sources)}
    kept.sort(key=lambda f: (order[f.place.file], f.place.line, IDS.index(f.rule)))
    return Analysis(
        tuple(sources),
        model,
        tuple(kept),
        len(found) - len(kept),
        detections,
        (*model.notes, *document.suppressions.misspelt(IDS)),
        host,
    )
