"""Bugs to plant in an agent with a journal (CMD-1): the simulation alone has to find each of them.

`tests/simulated_bugs.py --journals` says whether it does.
"""

from __future__ import annotations

from typing import Final

from mutants.simulated import Bug

_COMMANDS: Final = "artcafe_proto/agent/commands.py"
_JOURNAL: Final = "artcafe_proto/agent/journal.py"
_MESSAGING: Final = "artcafe_proto/agent/messaging.py"
_OUTBOX: Final = "artcafe_proto/policies/outbox.py"
_KEEPING: Final = "artcafe_proto/policies/keeping.py"

JOURNALED: Final = (
    # --- what happens too early ---
    Bug(
        "a handler starts before its command is stored",
        _COMMANDS,
        "if accepted.batch > self._stored:",
        "if accepted.batch < 0:",
    ),
    Bug(
        "a response enters the outbox before it is stored",
        _COMMANDS,
        "self.outbox.put(item, self._journal.answer(command_id, entry, body))",
        "self._journal.answer(command_id, entry, body)\n            self.outbox.put(item)",
    ),
    Bug(
        "a message enters the outbox before it is stored",
        _MESSAGING,
        "self.desk.outbox.put(item, None if self.journal is None else self.journal.message(item))",
        "self.desk.outbox.put(item, None if self.journal is None or self.journal.message(item) else 0)",
    ),
    Bug(
        "a ping passes a response that is held, and settles it",
        _OUTBOX,
        "        self._ping = None\n        settled = [",
        "        self._ping = None\n"
        "        self._sent.extend(item for _, item in self._unstored)\n"
        "        self._covered += len(self._unstored)\n"
        "        self._unstored.clear()\n"
        "        settled = [",
    ),
    Bug(
        "`draining` is said before the command is deleted",
        _MESSAGING,
        "        if self.journal is not None:\n            conn = ",
        "        if self.journal is not None and link is None:\n            conn = ",
    ),
    Bug(
        "`draining` waits for the batch before its own",
        _MESSAGING,
        "self._forgotten_with <= batch:",
        "self._forgotten_with <= batch + 1:",
    ),
    Bug(
        "what is given back while it is held starts all the same",
        _COMMANDS,
        "given_back, self.queued = self.queued, {}",
        "given_back, self.queued = self.queued, {} if self._journal is None else dict(self.queued)",
    ),
    # --- what is stored ---
    Bug(
        "a command that was accepted is not stored",
        _JOURNAL,
        "return self._put(pack(Kind.OPENED, entry.n, opened))",
        "return self.keeping.barrier + (opened is None)",
    ),
    Bug(
        "a response leaves its command open",
        _JOURNAL,
        "return self._put(record, pack(Kind.OPENED, opened, None))",
        "return self._put(record)",
    ),
    Bug(
        "a settled command is forgotten",
        _JOURNAL,
        "self._put_later(pack(Kind.RESPONSE, entry.n, response), now)",
        "self._put_later(pack(Kind.RESPONSE, entry.n, response and None), now)",
    ),
    Bug(
        "a message is deleted with the batch that stores it",
        _JOURNAL,
        "MessageRecord(item.message_id, msgspec.Raw(item.payload))))",
        "MessageRecord(item.message_id, msgspec.Raw(item.payload))), pack(Kind.MESSAGE, item.n, None))",
    ),
    Bug(
        "what is settled is stored at a drain only",
        _JOURNAL,
        "self._later_at = now.mono + SETTLED_UNSTORED_S",
        "self._later_at = now.mono + 1e9",
        besides=((_JOURNAL, "        if self._later:\n            self.flush()\n        return", "        return"),),
    ),
    Bug(
        "the numbers of records begin again after a restart",
        _JOURNAL,
        "self._n = max((n for n, _ in self._restored), default=0)",
        "self._n = 0",
    ),
    Bug(
        "a batch that could not be stored is not handed out again",
        _KEEPING,
        "        self._retry_at = mono + STORE_RETRY_S\n",
        "        self._under_way = None\n",
    ),
    # --- the next life ---
    Bug(
        "every command may run again",
        _JOURNAL,
        "entry.fingerprint, command in self._idempotent)",
        "entry.fingerprint, True)",
    ),
    Bug(
        "no command may run again",
        _JOURNAL,
        "                if value.is_idempotent:\n",
        "                if value.is_idempotent and self._n < 0:\n",
    ),
    Bug(
        "what is restored goes out by kind",
        _JOURNAL,
        "for n, value in sorted(restored, key=_n_of):",
        "for n, value in restored:",
    ),
    Bug(
        "`interrupted` is said before it is stored",
        _COMMANDS,
        'self._answer(opened.command_id, self._error(opened.command_id, "interrupted", reason, now))',
        'body = self._error(opened.command_id, "interrupted", reason, now)\n'
        "            self._journal = None\n"
        "            self._answer(opened.command_id, body)\n"
        "            self._journal = journal",
    ),
    # --- the store, and the end ---
    Bug(
        "commands are taken while the journal stalls",
        _COMMANDS,
        "if journal is not None and journal.refuses:",
        "if journal is not None and journal.keeping.unstored < 0:",
    ),
    Bug(
        "messages are taken while the journal stalls",
        _MESSAGING,
        "if self.journal is not None and self.journal.refuses:",
        "if self.journal is not None and self.journal.refuses and not raw:",
    ),
    Bug(
        "an agent whose journal stalls is not busy",
        _COMMANDS,
        "len(self.running) >= self._max_concurrent or (self._journal is not None and self._journal.refuses)",
        "len(self.running) >= self._max_concurrent",
    ),
    Bug(
        "a slow journal never stalls",
        _KEEPING,
        "                self.has_stalled = True\n",
        "                self._stalls_at = mono + STORE_RETRY_S\n",
    ),
    Bug(
        "who stops does not tell what is not stored",
        _OUTBOX,
        "return (*(() if self._held is None else (self._held,)), *self._sent, *self._waiting, *unstored)",
        "return (*(() if self._held is None else (self._held,)), *self._sent, *self._waiting, *unstored[:0])",
    ),
)
