"""Of all that went wrong before an invariant broke, what it takes to break it (delta debugging, Zeller 1999)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.testing.invariants import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artcafe_proto.testing.faults import Fault

__all__ = ["shrink"]


def shrink(run: Callable[[list[Fault]], None], faults: Sequence[Fault], *, most_runs: int = 300) -> list[Fault]:
    """The fewest of `faults` with which `run` still raises the InvariantError that it raises with all of them.

    `run` makes a Simulation with the seed, the settings and the faults it is given, and runs it. Raises ValueError if
    nothing breaks with all of `faults`.
    """
    broken = _broken(run, list(faults))
    if broken is None:
        raise ValueError("expected a run that breaks an invariant; it holds them all: give it the faults it had")
    kept, size, runs = list(faults), max(1, len(faults) // 2), 0
    while size and runs < most_runs:
        start = 0
        while start < len(kept) and runs < most_runs:
            fewer = kept[:start] + kept[start + size :]
            runs += 1
            if _broken(run, fewer) == broken:
                kept = fewer
            else:
                start += size
        size //= 2
    return kept


def _broken(run: Callable[[list[Fault]], None], faults: list[Fault]) -> str | None:
    try:
        run(faults)
    except InvariantError as error:
        return error.name
    return None
