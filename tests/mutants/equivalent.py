"""Mutants that no test can kill, each with its reason; `tests/mutation.py` looks whether they exist and survive."""

from __future__ import annotations

from typing import Final, NamedTuple


class Equivalent(NamedTuple):
    """One change of `function`, a dotted name: the lines `old` become `new`, and nobody can tell."""

    function: str
    old: str
    new: str
    reason: str


EQUIVALENTS: Final[tuple[Equivalent, ...]] = ()
