"""`docs/glossary.md` holds: its names exist, public names use its nouns, and no word it replaces is left."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from inspect import isclass, isfunction
from pathlib import Path

import pytest

import artcafe_proto
from artcafe_proto import agent, config, exchanges, messages, platform, testing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text("utf-8")
SOURCES = sorted(path for folder in ("artcafe_proto", "adapters") for path in (ROOT / folder).rglob("*.py"))
PROSE = sorted([*(ROOT / "docs").glob("*.*"), ROOT / "README.md", ROOT / "SECURITY.md"])
FILES = [*SOURCES, *PROSE]

GROUPS = [re.findall(r"^- \*\*([^*]+)\*\*: ", group, re.MULTILINE) for group in PAGE.split("\n## ")[1:]]
TERMS = [term for group in GROUPS for term in group]
CODE = re.compile(r"`([^`]+)`")
OLD_NAMES = {"Request", "Response"}
OLD_WORDS = {
    "errand": "call, exchange",
    "hang up on": "close",
    "hung up on": "close",
    "is none": "is missing",
    "job": "command",
    "mend": "fix",
    "mended": "fix",
    "of nobody": "unknown, decoy",
    "of now": "current",
    "an owner": "driver",
    "platform's owner": "driver",
    "owner's number": "driver",
    "subscription": "event stream",
    "this machine": "computer",
    "another machine": "computer",
    "other machines": "computer",
    "leave the machine": "computer",
    "leaves the machine": "computer",
    "the machine slept": "computer",
    "the machine sleeps": "computer",
    "WebSocket session": "link",
}
"""What is not used, and the glossary's word for it."""
WORD_IN_NAME = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
LONGEST_ENTRY_LINES = 2
VALUES = [artcafe_proto, agent, config, exchanges, messages, platform, testing]
"""Public modules. Effects and events end in a verb, and the other modules have functions."""


def names_of(source: str) -> set[str]:
    """Everything that a module names, and the words that it has as strings."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    plain = {token.string for token in tokens if token.type == tokenize.NAME}
    texts = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return plain | texts


@cache
def read(path: Path) -> list[tuple[int, str]]:
    """The prose of a file, which every word is sought in."""
    return list(prose_of(path, path.read_text("utf-8")))


def prose_of(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """The line and the words of each identifier, text and run of comments; of a page, all of it."""
    if path.suffix != ".py":
        yield 1, text
        return
    comments: list[str] = []
    first = last = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if comments and line != last + 1:
                yield first, " ".join(comments)
                comments = []
            first, last = first if comments else line, line
            comments.append(token.string.lstrip("# "))
        elif token.type == tokenize.NAME:
            yield line, " ".join(WORD_IN_NAME.findall(token.string)).lower()
    if comments:
        yield first, " ".join(comments)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def uses(word: str, prose: Iterable[tuple[int, str]]) -> list[int]:
    """The lines on which a word is used. It may begin a sentence, and go over the end of a line."""
    first = f"[{word[0].lower()}{word[0].upper()}]"
    pattern = re.compile(r"(?<!\w)" + first + r"\s+".join(re.escape(each) for each in word[1:].split(" ")) + r"(?!\w)")
    return [line + text[: match.start()].count("\n") for line, text in prose for match in pattern.finditer(text)]


def test_terms_are_sorted_within_their_groups_and_defined_once() -> None:
    assert len(TERMS) > 50
    assert [group for group in GROUPS if group != sorted(group)] == []
    assert len(set(TERMS)) == len(TERMS)


def test_every_entry_takes_two_lines_at_most() -> None:
    entries = re.findall(r"^- .*(?:\n  .*)*", PAGE, re.MULTILINE)
    assert len(entries) == len(TERMS)
    assert [entry for entry in entries if entry.count("\n") >= LONGEST_ENTRY_LINES] == []


def test_every_name_of_the_glossary_is_in_the_code() -> None:
    known = set[str]().union(*(names_of(path.read_text("utf-8")) for path in SOURCES))
    known |= {path.name for path in (ROOT / "adapters").iterdir()} | {"artcafe_proto", "artcafe_proto.platform"}
    assert sorted(set(CODE.findall(PAGE)) - known) == []


def public_values() -> list[str]:
    """What the public modules of values name, but for errors and functions."""
    exported = {name: getattr(module, name) for module in VALUES for name in module.__all__}
    return [
        name
        for name, value in exported.items()
        if not (isfunction(value) or (isclass(value) and issubclass(value, Exception)))
    ]


@pytest.mark.parametrize("name", public_values())
def test_a_public_name_ends_in_a_noun_of_the_glossary_or_is_told_there(name: str) -> None:
    if name.endswith("Config"):  # settings
        return
    words = name if name.islower() or name.isupper() else WORD_IN_NAME.findall(name)[-1].lower()
    assert words in TERMS or name in CODE.findall(PAGE), f"docs/glossary.md lacks a noun for {name}"


def test_no_class_has_a_name_that_two_things_would_share() -> None:
    for path in SOURCES:
        classes = {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)}
        assert not classes & OLD_NAMES, path


@pytest.mark.parametrize("word", OLD_WORDS)
def test_a_word_that_the_glossary_replaces_is_not_used(word: str) -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in FILES for line in uses(word, read(path))]
    assert found == [], f"the glossary's word for {word!r} is {OLD_WORDS[word]!r}"


@pytest.mark.parametrize(
    "source",
    [
        "class HungUpOn: ...",
        "def hung_up_on(): ...",
        "hung_up_on = 1",
        '"""It is hung\nup on."""',
        "raise ValueError(f'{1} was hung up on')",
        "pass  # Hung up on, it ends",
        "pass  # it is hung\n# up on",
    ],
)
def test_a_word_is_found_wherever_it_is_used(source: str) -> None:
    prose = list(prose_of(Path("sample.py"), source))
    assert uses("hung up on", prose) == [1]
    assert uses("hang up on", prose) == []
