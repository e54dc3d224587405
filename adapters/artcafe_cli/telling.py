"""What the command prints, as lines that a person may read and a terminal cannot be misled by."""

from __future__ import annotations

import os
import sys

import msgspec

from artcafe_proto.readable import json_line, one_line


def say(text: str) -> None:
    """Print one line."""
    print(one_line(text), flush=True)


def say_json(value: object) -> None:
    """Print a value as one line of JSON, for programs as well: JSON's escapes stand for exactly what was said."""
    print(json_line(msgspec.json.encode(value).decode()), flush=True)


def complain(text: str) -> None:
    """Print one line on standard error, in the name of the command, if anybody can read it."""
    try:
        print(one_line(f"artcafe: {text}"), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr.fileno())


def discard(descriptor: int) -> None:
    """Lead a standard stream that cannot be written to nowhere: else the interpreter tries again at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
