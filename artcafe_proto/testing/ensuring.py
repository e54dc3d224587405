"""What the simulation itself relies on, checked under `python -O` too."""

from __future__ import annotations


def ensure(holds: bool, what: str) -> None:
    """Raise AssertionError with `what` unless it holds."""
    if not holds:
        raise AssertionError(what)
