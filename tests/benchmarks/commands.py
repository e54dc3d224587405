"""How many commands a second an agent answers, beside its peers, and what CPU each costs.

    .venv/bin/python tests/benchmarks/commands.py [--repeats 5] [--seconds 1] [--only WORD]

Every subject is a process of its own: our agent is the public `Agent` with its defaults, everything on; the peers are
in `peers.py`. `load.c`, compiled here, plays the platform: one loopback connection, 165-byte commands, 64 of them
unanswered, later one at a time; it counts and checks the responses. The subjects take turns, so that what else the
machine does hits all of them; the figures are medians over the rounds, and ratios are taken within each round. They
mean nothing when the load is above 70 % of its core: then `load` was the slower one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

WARM_UP = ("64", "0.3")
MAX_LOAD = 0.7
GUIDE, PICOWS = "guide (websockets + json)", "picows + msgspec"
INLINE, INLINE_ANYIO = "agent, inline, asyncio", "agent, inline, anyio streams"
TASK, TASK_ANYIO = "agent, async def, asyncio", "agent, async def, anyio streams"
TRIO = "agent, inline, trio"
JOURNAL, TASK_JOURNAL = "agent, inline, with a journal", "agent, async def, with a journal"
AGENTS = {
    INLINE: ("asyncio", False, True),
    TASK: ("asyncio", False, False),
    INLINE_ANYIO: ("asyncio", True, True),
    TASK_ANYIO: ("asyncio", True, False),
    TRIO: ("trio", True, True),
    JOURNAL: ("asyncio", False, True),
    TASK_JOURNAL: ("asyncio", False, False),
}
"""Backend of anyio, whether by anyio's streams, whether the handler is called inline."""


def run_agent(name: str, port: int) -> None:
    """Our agent, until the platform is gone."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from artcafe_anyio import Agent
    from artcafe_proto.events import Offline
    from benchmarks.peers import echo, handle

    backend, streams, inline = AGENTS[name]
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "key")
        key.touch(mode=0o600)
        key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        agent = Agent(
            agent_id="agent-1",
            tenant_id="tenant-1",
            private_key_path=key,
            api_endpoint=f"http://127.0.0.1:{port}",
            log_level="ERROR",
            journal_path=Path(folder, "journal.db") if name in (JOURNAL, TASK_JOURNAL) else None,
            anyio_streams=streams,
        )

        @agent.on_event
        def end(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
            if isinstance(event, Offline):
                agent.stop(drain=False)

        if inline:
            agent.command("echo", inline=True)(echo)
        else:

            @agent.command("echo")
            async def echo_task(text: str) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
                return await handle({"text": text})

        agent.run(backend=backend)  # pyright: ignore[reportArgumentType]


def run_subject(name: str, port: int) -> None:
    """In a process of its own: connect to `port` and answer until the end."""
    if name in AGENTS:
        run_agent(name, port)
    else:
        from benchmarks import peers

        peers.run(name, port)


def measure(load: Path, name: str, seconds: float) -> dict[str, float]:
    """One round of one subject."""
    phases = (*WARM_UP, "64", str(seconds), "1", str(seconds / 2))
    platform = subprocess.Popen([load, *phases], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert platform.stdin is not None
    assert platform.stdout is not None
    port = platform.stdout.readline().strip()
    subject = subprocess.Popen([sys.executable, __file__, "--subject", name, "--port", port])
    try:
        platform.stdin.write(f"{subject.pid}\n")
        platform.stdin.close()
        lines = [json.loads(line) for line in platform.stdout]
        if platform.wait() != 0 or len(lines) != 3:
            raise SystemExit(f"{name}: the load ended early")
        subject.wait(10)
    finally:
        platform.kill()
        subject.kill()
        subject.wait()
    _, full, single = lines
    return {
        "rate": full["responses"] / full["wall_s"],
        "cpu_us": 1e6 * full["agent_cpu_s"] / full["responses"],
        "load": full["load_cpu_s"] / full["wall_s"],
        "p50_us": single["p50_us"],
        "p99_us": single["p99_us"],
    }


# --- figures ----------------------------------------------------------------------------------------------------------


def spread(values: list[float]) -> str:
    """How far the rounds lie apart, in percent of their median."""
    return f"±{50 * (max(values) - min(values)) / median(values):.0f} %"


def report(rounds: dict[str, list[dict[str, float]]]) -> None:
    """Print the table and the ratios."""
    from benchmarks import core

    def figures(name: str, key: str) -> list[float]:
        return [each[key] for each in rounds[name]]

    def middle(name: str, key: str) -> float:
        return median(figures(name, key))

    print(f"{'subject':34} {'commands/s':>11} {'spread':>7} {'CPU µs':>7} {'load':>5} {'p50 µs':>7} {'p99 µs':>7}")
    for name in rounds:
        busy = middle(name, "load")
        print(
            f"{name:34} {middle(name, 'rate'):11,.0f} {spread(figures(name, 'rate')):>7} {middle(name, 'cpu_us'):7.1f}"
            f" {busy:5.0%} {middle(name, 'p50_us'):7.1f} {middle(name, 'p99_us'):7.1f}"
            f"{'  the load was the limit' if busy > MAX_LOAD else ''}"
        )

    def ratio(what: str, one: str, other: str, key: str = "rate") -> None:
        if one in rounds and other in rounds:
            ratios = [mine / theirs for mine, theirs in zip(figures(one, key), figures(other, key), strict=True)]
            print(f"{what:58} {median(ratios):6.2f} {spread(ratios)}")

    ratio("inline ÷ guide, asyncio (≥ 10, floor 7)", INLINE, GUIDE)
    ratio("inline ÷ picows + msgspec, asyncio (≥ 2, floor 1.5)", INLINE, PICOWS)
    ratio("inline ÷ guide, anyio streams (≥ 7, floor 4)", INLINE_ANYIO, GUIDE)
    ratio("async def ÷ guide, asyncio (≥ 4, floor 2.5)", TASK, GUIDE)
    ratio("ping-pong p50, inline ÷ picows (≤ 1.0, at most 1.4)", INLINE, PICOWS, "p50_us")
    if INLINE in rounds:
        whole, wire = core.protocol_us(), core.wire_us()
        what = "machine and codec, CPU µs over the bare wire (≤ 3, at most 6)"
        print(f"{what:58} {whole - wire:6.2f} ({whole:.2f} with it)")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", action="append", help="subjects whose names hold this word; may be repeated")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject is not None:
        run_subject(arguments.subject, arguments.port)
        return
    from benchmarks.peers import PEERS

    names = [name for name in (*AGENTS, *PEERS) if not arguments.only or any(word in name for word in arguments.only)]
    with tempfile.TemporaryDirectory() as folder:
        load = Path(folder, "load")
        subprocess.run(["cc", "-O2", "-o", load, HERE / "load.c"], check=True)
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(arguments.repeats):
            for name in names:
                rounds[name].append(measure(load, name, arguments.seconds))
    report(rounds)


if __name__ == "__main__":
    main()
