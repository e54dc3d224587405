"""The bar for every file of the product: short functions, short modules, one place to import from."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import artcafe_proto

ROOT = Path(__file__).parents[2]
PACKAGES = ["artcafe_proto", "adapters/artcafe_anyio", "adapters/artcafe_platform", "adapters/artcafe_cli"]
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


def test_all_packages_come_from_the_same_place() -> None:
    core = Path(artcafe_proto.__file__).parents[1]
    for name in ("artcafe_anyio", "artcafe_platform", "artcafe_cli"):
        where = Path(import_module(name).__file__ or "").parents[1]
        assert where in (core, core / "adapters"), f"{name} comes from {where}, artcafe_proto from {core}"


def test_everything_exported_exists() -> None:
    for name in ("artcafe_proto", "artcafe_anyio", "artcafe_platform"):
        module = import_module(name)
        assert [each for each in module.__all__ if not hasattr(module, each)] == []
        assert sorted(set(module.__all__)) == sorted(module.__all__)
