"""The exceptions of lbsplice. Each one's text is ready to be shown to the operator:
what is wrong, where, and what would help."""

from __future__ import annotations


class LbspliceError(Exception):
    """The root of all errors that lbsplice raises on purpose."""


class UnitError(LbspliceError):
    """A duration, size or address that can not be read."""


class ConfigError(LbspliceError):
    """A configuration that can not be used."""


class EnvironmentLacks(LbspliceError):
    """The machine lacks a right, a tool, a limit or a free port that is needed."""


class PlanError(LbspliceError):
    """A plan that can not be carried out (a table is full, a number is out of range)."""


class DataplaneError(LbspliceError):
    """The C workers refused something or report a broken state."""


class DataplaneBusy(DataplaneError):
    """A worker's mailbox is full; the same order may be given again in a moment."""


class LabError(LbspliceError):
    """A scene of the lab that could not be set up."""


class NeedsRoom(LbspliceError):
    """A configuration for which the tables of the ledger are too small."""
