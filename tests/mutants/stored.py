"""Bugs to plant in a platform with a store (PLAT-5): the simulation alone has to find each of them.

`tests/simulated_bugs.py --stores` says whether it does.
"""

from __future__ import annotations

from typing import Final

from mutants.simulated import Bug

_HELD: Final = "artcafe_proto/platform/held.py"
_STORING: Final = "artcafe_proto/platform/storing.py"
_HUB: Final = "artcafe_proto/platform/hub.py"
_DELIVERY: Final = "artcafe_proto/platform/delivery.py"
_WATCHES: Final = "artcafe_proto/platform/watches.py"
_API: Final = "artcafe_proto/platform/api.py"
_KEEPING: Final = "artcafe_proto/policies/keeping.py"
_DISKS: Final = "artcafe_proto/testing/disks.py"
_FEW_FINISHED: Final = ((_DELIVERY, "state.finished_count > MAX_FINISHED_COMMANDS", "state.finished_count > 50"),)
"""No world is long enough for a platform to forget commands for want of room."""

STORED: Final = (
    # --- what is said too early, or never ---
    Bug("a response leaves before its batch", _HELD, "self._hold(batch, send)", "self._hold(0, send)"),
    Bug(
        "a pong passes an outcome",
        _HELD,
        "barrier = 0 if self.presence is None else self.presence.outcome_batch",
        "barrier = 0",
    ),
    Bug(
        "a pong passes the outcome of an earlier link, of which a repeated response makes none again",
        _HUB,
        "        session.linked = self._links.open(session, agent, key_id)\n",
        "        session.linked = self._links.open(session, agent, key_id)\n"
        "        session.linked.presence.outcome_batch = 0\n",
    ),
    Bug(
        "a pong waits for whatever is not stored, on every link",
        _HELD,
        "barrier = 0 if self.presence is None else self.presence.outcome_batch",
        "barrier = self._keeping.barrier",
    ),
    Bug(
        "a close passes a response that is held",
        _HELD,
        "        if self._held:\n            self._hold(0, output)\n",
        "        if self._pongs:\n            self._hold(0, output)\n",
    ),
    Bug(
        "a command goes out before it is stored",
        _DELIVERY,
        "if pending is not None and pending.batch > self._stored:",
        "if pending is not None and pending.batch < 0:",
    ),
    Bug(
        "a read shows what is not stored",
        _API,
        "            after = None\n",
        '            after = 0 if request.method == "GET" else None\n',
    ),
    Bug(
        "a poll shows what is not stored",
        _WATCHES,
        "command_answer(command), now, after=self._barrier())",
        "command_answer(command), now, after=0)",
    ),
    Bug(
        "an event stream tells what is not stored",
        _WATCHES,
        "session.send_body(stream.exchange, data, now, after=after)",
        "session.send_body(stream.exchange, data, now, after=0)",
    ),
    Bug(
        "the driver is told what is not stored",
        _STORING,
        "if keeping is None or keeping.stored == keeping.barrier or",
        "if keeping is None or keeping.barrier or",
    ),
    # --- batches ---
    Bug(
        "a batch is handed out without its last record",
        _KEEPING,
        "Persist(batch.n, tuple(batch.records))",
        "Persist(batch.n, tuple(batch.records[:-1] or batch.records))",
    ),
    Bug(
        "half of a batch is on the disk",
        _DISKS,
        "for record in batch.records:",
        "for record in batch.records[: (len(batch.records) + 1) // 2]:",
    ),
    Bug(
        "a batch that could not be stored is not handed out again",
        _KEEPING,
        "        self._retry_at = mono + STORE_RETRY_S\n",
        "        self._under_way = None\n",
    ),
    Bug(
        "a retry moves the time since which the store stalls",
        _KEEPING,
        "        self._retry_at = None\n        return Persist",
        "        self._retry_at, self._stalls_at = None, mono + STORE_PATIENCE_S\n        return Persist",
    ),
    Bug(
        "an outcome is not deleted with its command",
        _STORING,
        "return self.keeping.put(pack(*change), pack(Kind.OUTCOME, outcome_n, None))",
        "return self.keeping.put(pack(*change))",
        besides=_FEW_FINISHED,
    ),
    Bug(
        "the command that is forgotten is not over",
        _DELIVERY,
        "Change(Kind.COMMAND, state.oldest_finished().n, None)",
        "Change(Kind.COMMAND, min(state._commands), None)",
        besides=_FEW_FINISHED,
    ),
    # --- the next life ---
    Bug(
        "epochs begin again after a restart",
        _HUB,
        "self._links = Links(self._state.life)",
        "self._links = Links(1)",
    ),
    Bug(
        "commands that are restored do not go out",
        _DELIVERY,
        "for command_id, each in line.pending.items())",
        "for command_id, each in line.pending.items() if each.batch or not self._stored)",
    ),
)
