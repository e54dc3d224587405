"""A process that stores batches until it is killed: `killed_writer.py FILE`. It says the number of each stored batch.

Batch b holds 20 records of kind 1 with the value b, and one of kind 2 with number b; it deletes that of batch b - 3.
"""

from __future__ import annotations

import sys
from itertools import count

import anyio

from artcafe_proto.effects import Persist
from artcafe_proto.records import Record
from artcafe_stores import SqliteStore

RECORDS = 20


async def main(path: str) -> None:
    store = SqliteStore(path)
    stored = [record.n for record in await store.open() if record.kind == 2]
    for number in count(max(stored, default=0) + 1):
        value = b"%d" % number
        records = [Record(1, n, value) for n in range(RECORDS)]
        records += [Record(2, number, value), Record(2, number - 3, None)]
        await store.commit(Persist(number, tuple(records)))
        print(number, flush=True)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
