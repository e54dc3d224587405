"""What peers may put into a text to mislead whoever reads it."""

from __future__ import annotations

TERMINAL = "\x1b]0;owned\x07\x1b[31m\x9b2J\x7f\x08"
LINE_ENDS = "\r\n2026-01-01 ERROR agent-1: forged\x85\u2028\u2029\x0b\x0c"
DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\xad\u00a0\U000e0041"
MARKUP = "[/] [bold]worker[gpu][/bold] :warning:"
HOSTILE = f"{TERMINAL}{LINE_ENDS}{DIRECTIONS}{INVISIBLE}{MARKUP}"


def check_readable(text: str) -> None:
    """Nothing in it but printable characters and line feeds, and nothing at the left that a peer has put there."""
    odd = {character for character in text if not character.isprintable() and character != "\n"}
    assert not odd, (odd, text)
    assert not any(line.startswith("2026-01-01 ERROR") for line in text.split("\n")), text
