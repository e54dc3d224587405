"""The core does no I/O, reads no clock and draws no randomness: shown on its syntax tree, function bodies included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import artcafe_proto

CORE = Path(artcafe_proto.__file__).parent
FILES = sorted(CORE.rglob("*.py"))

FORBIDDEN_MODULES = {
    "anyio", "asyncio", "concurrent", "fcntl", "gc", "http", "importlib", "io", "linecache", "logging",
    "multiprocessing", "os", "pathlib", "random", "requests", "secrets", "select", "selectors", "shutil", "signal",
    "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "traceback.TracebackException", "trio",
    "urllib.request", "uuid", "warnings", "weakref",
}  # fmt: skip
TYPED_BY = {"random"}
"""Modules whose classes may be named in annotations: a machine is given its generator."""
FORBIDDEN_CALLS = {"now", "today", "utcnow", "time", "monotonic", "open", "print", "input", "urandom", "__import__"}
FORBIDDEN_NAMES = {"open", "print", "input", "breakpoint", "__import__", "exec", "eval"}


def violations(tree: ast.AST) -> Iterator[str]:
    """What makes a module impure, as `line: what`."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if not isinstance(node, (ast.stmt, ast.expr)):
            continue
        forbidden = FORBIDDEN_MODULES - TYPED_BY if id(node) in typing_only else FORBIDDEN_MODULES
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
            if node.level:
                yield f"{node.lineno}: a relative import"
        for module in modules:
            parts = module.split(".")
            if any(".".join(parts[: count + 1]) in forbidden for count in range(len(parts))):
                yield f"{node.lineno}: imports {module}"
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in FORBIDDEN_NAMES:
                yield f"{node.lineno}: calls {called.id}"
            elif isinstance(called, ast.Attribute) and called.attr in FORBIDDEN_CALLS and not node.args:
                yield f"{node.lineno}: calls .{called.attr}()"
        if isinstance(node, (ast.Global, ast.Nonlocal)):
            yield f"{node.lineno}: keeps state outside of objects"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_the_core_is_pure(path: Path) -> None:
    found = list(violations(ast.parse(path.read_text())))
    if path.relative_to(CORE).parts[0] == "testing":  # a seed is made a generator there, and only there
        found = [
            violation for violation in found if not violation.endswith(("imports random", "imports random.Random"))
        ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "def f():\n    import socket",
        "from os import path",
        "from concurrent.futures import ThreadPoolExecutor",
        "from urllib import request",
        "import random",
        "import datetime\nx = datetime.datetime.now()",
        "f = open('x')",
        "print()",
        "from . import x",
        "n = 0\ndef f():\n    global n",
        "from traceback import TracebackException",  # which reads source files
        "if TYPE_CHECKING:\n    from logging import LogRecord",
    ],
)
def test_the_purity_test_finds_impurity(source: str) -> None:
    assert list(violations(ast.parse(source)))


def test_a_generator_may_be_named_in_annotations() -> None:
    assert not list(violations(ast.parse("if TYPE_CHECKING:\n    from random import Random")))


def test_every_module_of_the_core_is_looked_at() -> None:
    assert len(FILES) > 25


def test_only_wires_import_h11_and_wsproto() -> None:
    for path in FILES:
        if path.parent.name != "wires":
            imported = {
                name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
                for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
            }
            assert not imported & {"h11", "wsproto"}, path


LAYERS = ["policies", "wires", "agent", "platform"]


def test_layers_import_downwards_only() -> None:
    allowed = {"policies": {"policies"}, "wires": {"wires"}, "agent": {"policies", "wires", "agent"}}
    allowed["platform"] = {"policies", "wires", "platform"}
    for layer, below in allowed.items():
        for path in (CORE / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("artcafe_proto."):
                    part = (node.module or "").split(".")[1]
                    assert part not in LAYERS or part in below, f"{path}: {node.module}"
    for layer in ("agent", "platform"):
        for path in (CORE / layer).rglob("*.py"):
            if path.name != "protocol.py":
                assert "artcafe_proto.wires" not in path.read_text(), f"{path}: machines know no wires"
