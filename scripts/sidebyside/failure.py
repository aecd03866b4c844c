"""The error of the bench."""


class BenchError(Exception):
    """A measurement that could not be made; the text says why."""
