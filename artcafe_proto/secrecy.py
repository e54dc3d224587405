"""What holds a secret keeps it to itself (TOK-4)."""

from __future__ import annotations

from typing import NoReturn


class Secretive:
    """Base of what holds a key, a token, a challenge or a signature: no copy of it leaves the process.

    What holds such an object refuses with it. Its `repr` shows nothing of the secret: that is each class's own affair.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not for copying or pickling: it holds what is secret (TOK-4)")

    def __rich_repr__(self) -> None:
        """Have rich show the `repr`: a struct's own answer would be all its fields."""
