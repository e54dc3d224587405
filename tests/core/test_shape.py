"""The bar for every file of the product: short functions, short modules, one place to import from."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import walk_packages

import pytest

import artcafe_proto

ROOT = Path(__file__).parents[2]
ADAPTERS = ["artcafe_anyio", "artcafe_platform", "artcafe_stores", "artcafe_cli"]
PACKAGES = ["artcafe_proto", *(f"adapters/{name}" for name in ADAPTERS)]
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def documented(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public classes and functions, and public methods of public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                        yield inner


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short_and_public_things_documented(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 70, node.name
    assert ast.get_docstring(tree), "a module says what it is"
    undocumented = [node.name for node in documented(tree) if not ast.get_docstring(node)]
    assert not undocumented


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_shadows_the_standard_library(path: Path) -> None:
    assert path.stem not in sys.stdlib_module_names - {"__init__", "__main__"}


def module_name(path: Path) -> str:
    """As it is imported; a package's own module is `package.__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "adapters" else parts)


def imported(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What a module imports, wherever in it: modules, and names of them ("" for the module as a whole)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: -node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def exports(tree: ast.Module) -> Iterator[str]:
    """What a module lists in `__all__`, without what it adds of other modules."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            yield from ast.literal_eval(node.value)


def import_circle(sources: Mapping[str, str]) -> list[str]:
    """Modules of which each imports the next, the last being the first again; empty if there are none.

    What is imported of a package is sought where the package has it from: so no package is part of a circle.
    """
    trees = {name: ast.parse(source) for name, source in sources.items()}
    imports = {name: list(imported(name, tree)) for name, tree in trees.items()}
    listed = {name: set(exports(tree)) for name, tree in trees.items()}

    def origin(module: str, name: str) -> str:
        if f"{module}.{name}" in sources:
            return f"{module}.{name}"
        for source, exported in imports.get(f"{module}.__init__", ()):
            if name and exported in (name, "*"):
                found = origin(source, name)
                if exported == name or found != source or name in listed.get(source, ()):
                    return found
        return module

    graph = {
        name: {origin(*each) for each in below} & sources.keys()
        for name, below in imports.items()
        if not name.endswith(".__init__")
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_no_import_circle_is_left_not_even_for_types() -> None:
    circle = import_circle({module_name(path): path.read_text() for path in FILES})
    assert not circle, " imports ".join(circle)


@pytest.mark.parametrize(
    "front",
    [
        "from parts.high import High\nfrom parts.low import Low",
        "from parts.high import *\nfrom parts.low import *",
    ],
)
@pytest.mark.parametrize(
    "upwards",
    [
        "from parts.high import High",
        "import parts.high",
        "from parts import high",
        "from parts import High",  # which the package has from there
        "from .high import High",
        "from . import high",
        "if TYPE_CHECKING:\n    from parts.high import High",
        "def late():\n    from parts.high import High",
    ],
)
def test_an_import_circle_is_found_and_named(upwards: str, front: str) -> None:
    sources = {
        "parts.__init__": front,
        "parts.high": "from parts import middle\n__all__ = ['High']",
        "parts.middle": "from parts import Low",
        "parts.low": "__all__ = ['Low']",
    }
    assert import_circle(sources) == []
    circle = import_circle(sources | {"parts.low": f"{upwards}\n{sources['parts.low']}"})
    assert circle[0] == circle[-1]
    steps = {("parts.high", "parts.middle"), ("parts.middle", "parts.low"), ("parts.low", "parts.high")}
    assert set(pairwise(circle)) == steps


def test_all_packages_come_from_the_same_place() -> None:
    core = Path(artcafe_proto.__file__).parents[1]
    for name in ADAPTERS:
        where = Path(import_module(name).__file__ or "").parents[1]
        assert where in (core, core / "adapters"), f"{name} comes from {where}, artcafe_proto from {core}"


def test_every_module_of_the_core_can_be_imported() -> None:
    names = [module.name for module in walk_packages(artcafe_proto.__path__, "artcafe_proto.")]
    assert len(names) > 80
    assert {import_module(name).__name__ for name in names} == set(names)


SHORT = ["self.queued.items()"]
"""Dicts that are short: this has at most `max_queued` entries, and every command passes through it."""


def first_of_dicts(trees: list[ast.Module]) -> list[str]:
    """Where the first of a dict is looked for: that passes over all that were deleted before it, a linear search.

    An attribute that is annotated as an OrderedDict, in whatever module, is no such dict.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    ordered = {
        node.target.attr
        for node in nodes
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Attribute)
        and ast.unparse(node.annotation).startswith("OrderedDict[")
    }
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node).startswith("next(iter("):
            looked_at = ast.unparse(node.args[0])[len("iter(") : -1]
            name = looked_at.removesuffix(".values()").removesuffix(".items()").rpartition(".")[2]
            if name not in ordered:
                found.append(looked_at)
    return found


def test_what_is_taken_from_the_front_is_found_at_once() -> None:
    assert first_of_dicts([ast.parse(path.read_text()) for path in FILES]) == SHORT


def test_a_search_for_the_first_of_a_dict_is_found() -> None:
    source = "self.a: dict[int, int] = {}\nself.b: OrderedDict[int, int] = OrderedDict()\n"
    looks = "next(iter(self.a))\nnext(iter(x.a.values()), None)\nnext(iter(self.b.items()))\n"
    assert first_of_dicts([ast.parse(source), ast.parse(looks)]) == ["self.a", "x.a.values()"]
