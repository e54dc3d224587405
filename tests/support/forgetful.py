"""A ledger that forgets: what finds that commands run twice is shown one."""

from __future__ import annotations

from artcafe_proto.policies.ledger import Entry, Ledger


class _Nothing(dict[str, Entry]):
    def get(self, *_: object) -> None:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """It knows no command."""


_begin = Ledger.__init__


def begin_forgetful(ledger: Ledger) -> None:
    """In place of `Ledger.__init__`: whatever comes is new to it."""
    _begin(ledger)
    ledger.entries = _Nothing()  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
