"""What holds of every output of the machines, whatever is tested: its values are of their types, its clause exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec

_PAGE: Final = Path(__file__).parents[2] / "docs" / "protocol.md"
_CLAUSES: Final = frozenset(re.findall(r"\b[A-Z]+-\d+\b", _PAGE.read_text("utf-8")))
_RFC: Final = re.compile(r"RFC \d{4}")


def check_well_formed(output: msgspec.Struct) -> None:
    """Raise AssertionError if a value of an event or effect is not of its type, or cites no clause and no RFC."""
    fields: dict[str, Any] = msgspec.structs.asdict(output)
    try:
        msgspec.convert(fields, type(output))
    except msgspec.ValidationError as error:
        raise AssertionError(f"{output!r}: {error}") from None
    clause = fields.get("clause")
    assert clause is None or clause in _CLAUSES or _RFC.match(clause), output
