"""The list of mutants that no test can kill stays a list of changes of the code as it is."""

from __future__ import annotations

import inspect
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from mutants.equivalent import EQUIVALENTS, Equivalent


def test_no_mutant_is_listed_twice_and_each_has_its_reason() -> None:
    assert len({each[:3] for each in EQUIVALENTS}) == len(EQUIVALENTS)
    assert all(each.reason for each in EQUIVALENTS)


@pytest.mark.parametrize("each", EQUIVALENTS, ids=lambda each: f"{each.function}: {each.new}")
def test_an_equivalent_mutant_still_fits_where_it_was_found(each: Equivalent) -> None:
    module, _, name = each.function.rpartition(".")
    try:
        function = getattr(import_module(module), name)
    except ModuleNotFoundError:
        module, _, class_name = module.rpartition(".")
        function = getattr(getattr(import_module(module), class_name), name)
    assert each.old in " ".join(line.strip() for line in inspect.getsource(function).splitlines())


def test_every_file_that_is_to_be_mutated_is_there() -> None:
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mutmut"]["only_mutate"]
    assert {Path(pattern).parent.as_posix() for pattern in patterns} == {
        "artcafe_proto",
        "artcafe_proto/agent",
        "artcafe_proto/platform",
        "artcafe_proto/policies",
    }
    assert [pattern for pattern in patterns if not list(root.glob(pattern))] == []
