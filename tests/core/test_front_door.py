"""What users import from where: a small front door, public modules, and drivers that need no others."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

import artcafe_proto

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "embedding.md").read_text("utf-8")
PUBLIC = re.findall(r"^\| `(artcafe_proto[\w.]*)` \|", PAGE.partition("\n## What is public\n")[2], re.MULTILINE)
"""The modules of the table in docs/embedding.md."""
ADAPTERS = sorted((ROOT / "adapters").rglob("*.py"))
MODULES = [module.name for module in walk_packages(artcafe_proto.__path__, "artcafe_proto.")]
EVERYWHERE = [
    path for folder in ("adapters", "artcafe_proto", "fuzz", "tests") for path in sorted((ROOT / folder).rglob("*.py"))
]
MOST_NAMES = 26


def imports_of_the_core(source: str) -> Iterator[tuple[str, str]]:
    """Modules of the core and the names that are imported from them, wherever; "" for a module as a whole."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in found:
            if f"{module}.{name}" in MODULES:
                yield f"{module}.{name}", ""
            elif module.partition(".")[0] == "artcafe_proto":
                yield module, name


def test_the_front_door_is_small() -> None:
    assert len(artcafe_proto.__all__) <= MOST_NAMES


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_adapters_import_only_what_is_public(path: Path) -> None:
    for module, name in imports_of_the_core(path.read_text("utf-8")):
        assert module in PUBLIC, f"{module} is not public: see docs/embedding.md, What is public"
        assert name in import_module(module).__all__, f"{module} does not name {name} in __all__"


def test_an_import_of_what_is_not_public_is_found_wherever_it_is() -> None:
    source = """
import artcafe_proto.links
from artcafe_proto import AgentConfig, links
if TYPE_CHECKING:
    from artcafe_proto.links import LinkEnd
def late():
    from artcafe_proto.links import LinkEnd
"""
    links = "artcafe_proto.links"
    found = [(links, ""), ("artcafe_proto", "AgentConfig"), (links, ""), (links, "LinkEnd"), (links, "LinkEnd")]
    assert sorted(imports_of_the_core(source)) == sorted(found)


@pytest.mark.parametrize("path", EVERYWHERE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_comes_through_the_front_door_that_it_does_not_name(path: Path) -> None:
    names = {name for module, name in imports_of_the_core(path.read_text("utf-8")) if module == "artcafe_proto"}
    assert names - {""} <= set(artcafe_proto.__all__)


@pytest.mark.parametrize("name", [*PUBLIC, "artcafe_anyio", "artcafe_platform", "artcafe_stores"])
def test_a_public_module_says_what_it_is_and_has_what_it_names(name: str) -> None:
    module = import_module(name)
    assert module.__doc__
    assert [each for each in module.__all__ if not hasattr(module, each)] == []
    assert sorted(set(module.__all__)) == sorted(module.__all__)


def test_the_table_of_public_modules_has_each_once() -> None:
    assert len(PUBLIC) > 10
    assert len(set(PUBLIC)) == len(PUBLIC)


def test_a_name_that_the_front_door_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'artcafe_proto' has no attribute 'PlatformState'"):
        _ = artcafe_proto.PlatformState  # type: ignore[attr-defined]


def test_an_agent_starts_without_the_platforms_side_and_without_the_testing_package() -> None:
    program = "import artcafe_anyio, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "artcafe_proto.agent.protocol" in loaded
    assert [name for name in loaded if re.match(r"artcafe_(platform|proto\.(platform|testing))\b", name)] == []
