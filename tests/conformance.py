"""Runs Autobahn's test cases, by kosoku, against `WebSocketWire` in one role and prints a verdict on each as JSON.

    .venv/bin/python tests/conformance.py agent|platform CASE...

CASE is an id or a pattern, as `9.*`. Verdicts are Autobahn's: on the messages, then on the closing handshake. A process
of its own, because kosoku changes `sys.path` and `binascii` for all that runs beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from functools import partial
from importlib import import_module
from typing import Any, Final

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver

from support.echo_peers import EchoClient, EchoServer

AT_ONCE: Final = 4
"""Cases that run beside each other: some only wait, for what must not come."""
PATIENCE_S: Final = 60.0
"""More than a case itself waits for us, mostly 1 s, before it gives us up: a busy machine breaks no protocol."""


class PatientProtocol:
    """What a case writes to and sets its deadlines with. None of those is reached while we do as we should."""

    def __init__(self, protocol: Any) -> None:
        object.__setattr__(self, "_protocol", protocol)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._protocol, name, value)

    def killAfter(self, seconds: float) -> None:
        self._protocol.killAfter(seconds + PATIENCE_S)

    def closeAfter(self, seconds: float) -> None:
        self._protocol.closeAfter(seconds + PATIENCE_S)


def be_patient() -> None:
    """Have all cases use it: they derive from one class."""
    import_module("kosoku.cases")
    cases: Any = import_module("case").Case  # kosoku's folder of cases is on the path now
    begin = cases.__init__

    def begin_patiently(case: Any, protocol: Any) -> None:
        begin(case, PatientProtocol(protocol))

    cases.__init__ = begin_patiently


async def run_platform(cases: list[str]) -> list[Any]:
    """Results of the platform's role: kosoku connects to it, once for each case."""
    server = await asyncio.get_running_loop().create_server(EchoServer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await run_fuzzingclient(f"ws://127.0.0.1:{port}", cases, concurrency=AT_ONCE)


async def run_agent(cases: list[str]) -> list[Any]:
    """Results of the agent's role: it asks kosoku how many cases there are, and connects once for each."""
    results: list[Any] = []
    async with run_fuzzingserver(cases, host="127.0.0.1", port=0) as server:
        turns = asyncio.Semaphore(AT_ONCE)

        async def connect(target: str) -> EchoClient:
            async with turns:
                make = partial(EchoClient, target)
                _, client = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", server.port)
                await client.over.wait()
                return client

        (count,) = (await connect("/getCaseCount")).messages
        await asyncio.gather(*(connect(f"/runCase?case={number}&agent=ours") for number in range(1, int(count) + 1)))
        await connect("/updateReports?agent=ours")
        results.extend(await server.get_result())
    return results


def main(role: str, *cases: str) -> None:
    """Run the cases and print the verdicts."""
    be_patient()
    run = {"agent": run_agent, "platform": run_platform}[role]
    try:
        results = asyncio.run(run(list(cases)))
    except FailureError as failure:
        results = failure.results
    verdicts = {result.case_id: [result.behavior.value, result.behavior_close.value] for result in results}
    print(json.dumps(verdicts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # kosoku has threads of its own that abort the process, now and then, while Python finalizes
