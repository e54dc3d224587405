"""Feeds recorded inputs to machines of the present code, and compares what they put out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from replays.present import PLAYERS
from replays.stored import Call, Drained, Machine, World, encoded

_SHOWN_CHARS: Final = 600
_BEFORE: Final = 60
"""How many characters before the first different one are shown."""


class Difference(AssertionError):
    """A machine of the present code did otherwise than the recorded one."""


def compare(worlds: Iterable[World]) -> Counter[str]:
    """How many worlds, machines, inputs and outputs are the same. Raises Difference at the first that is not."""
    counts: Counter[str] = Counter()
    for world in worlds:
        counts["worlds"] += 1
        for number, machine in enumerate(world.machines):
            counts["machines"] += 1
            counts += _compare_machine(machine, f"world {world.seed}, machine {number} ({machine.role})")
    if min(counts[name] for name in ("worlds", "machines", "inputs", "outputs")) == 0:
        raise Difference(f"expected something to compare, found {dict(counts)}")
    return counts


def _compare_machine(machine: Machine, where: str) -> Counter[str]:
    player = PLAYERS[machine.role](machine)
    counts: Counter[str] = Counter()
    last = "its construction"
    for step in machine.steps:
        try:
            if isinstance(step, Call):
                counts["inputs"] += 1
                last = f"input {counts['inputs']}, {_shown_call(step)}"
                _expect(step.result, player.call(step), where, f"the result of {last}")
            else:
                _expect_outputs(step, player.drain(step), where, last)
                counts["outputs"] += sum(len(outputs) for _, outputs, _ in step.outputs)
        except Difference:
            raise
        except Exception as error:
            error.add_note(f"{where}: after {last}")
            raise
    return counts


def _expect_outputs(expected: Drained, came: Drained, where: str, last: str) -> None:
    theirs = {target: (outputs, deadline) for target, outputs, deadline in expected.outputs}
    ours = {target: (outputs, deadline) for target, outputs, deadline in came.outputs}
    nothing: tuple[list[Any], float | None] = ([], None)
    for target in sorted(theirs.keys() | ours.keys()):
        outputs, deadline = theirs.get(target, nothing)
        our_outputs, our_deadline = ours.get(target, nothing)
        for number, pair in enumerate(zip(outputs, our_outputs, strict=False), 1):
            _expect(*pair, where, f"output {number} of {target} after {last}")
        number = min(len(outputs), len(our_outputs))
        _expect(outputs[number:], our_outputs[number:], where, f"further outputs of {target} after {last}")
        _expect(deadline, our_deadline, where, f"the deadline of {target} after {last}")


def _expect(expected: Any, came: Any, where: str, what: str) -> None:
    if encoded(expected) != encoded(came):
        texts = [_shown(expected), _shown(came)]
        same = next(
            (n for n, (one, other) in enumerate(zip(*texts, strict=False)) if one != other), min(map(len, texts))
        )
        start = max(0, same - _BEFORE)
        cut = [("… " if start else "") + text[start : start + _SHOWN_CHARS] for text in texts]
        raise Difference(f"{where}\n  {what}\n  expected: {cut[0]}\n  came:     {cut[1]}")


def _shown(value: Any) -> str:
    """Plain data for people: fields by name, so that their order is no difference."""
    if isinstance(value, dict):
        fields = ", ".join(f"{name}={_shown(value[name])}" for name in sorted(value) if name != "class")  # pyright: ignore
        return f"{value.get('class', '')}({fields})"  # pyright: ignore
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"  # pyright: ignore
    return repr(value)


def _shown_call(call: Call) -> str:
    return f"of {call.target}: {call.name}{_shown(call.args)}"[:_SHOWN_CHARS]
