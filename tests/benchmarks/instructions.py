"""Instructions to receive a TEXT message and to answer a command: counted by callgrind, the same on a busy machine.

    .venv/bin/python tests/benchmarks/instructions.py [--size 165] [--messages 960]

Each subject is run twice under `valgrind --tool=callgrind`, the second time with more messages; the difference of the
two counts, divided by that of the messages, is the cost of one, whatever start-up costs. Messages arrive 32 in a read:
an agent's unmasked, as commands come, and a platform's masked. What is counted of a receipt ends with the message as an
event; of a command it is all that `AgentProtocol` does, from its bytes to those of its response and to the pong that
settles it. All are held against wsproto receiving such a message. Ends with status 1 if one costs more of that than it
should: this holds the line in CI.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.counting import instructions

OURS, WSPROTO, COMMAND = "artcafe_proto", "wsproto", "command"
MOST = {"agent": 0.12, "platform": 0.2}
"""Instructions ÷ wsproto's, by side: a platform's cost more, as unmasking costs both the same."""
MOST_OF_COMMAND = 1.2
"""Instructions of a whole command ÷ what it costs wsproto to receive it."""
BATCH = 32


def receive(subject: str, side: str, size: int, messages: int) -> None:
    """In a process of its own, under callgrind."""
    from artcafe_proto.wires.frames import FrameWriter
    from artcafe_proto.wires.websocket import WebSocketWire

    is_client = side == "agent"
    text = bytes(Random(2).choices(range(0x20, 0x7F), k=size))
    data, count = FrameWriter(client=not is_client, rng=Random(1)).text(text) * BATCH, 0
    if subject == WSPROTO:
        from wsproto.connection import CLIENT, SERVER, Connection

        connection = Connection(CLIENT if is_client else SERVER)
        for _ in range(messages // BATCH):
            connection.receive_data(data)
            count += sum(1 for _ in connection.events())
    else:
        wire = WebSocketWire(client=is_client, rng=Random(1), max_message_size=1 << 20)
        for _ in range(messages // BATCH):
            count += len(wire.receive(data))
    assert count == messages, "every message was received"


def answer(commands: int) -> None:
    """Likewise: commands, from bytes to bytes."""
    from benchmarks import core

    loop, reads = core.Loop(), core.batches(0, 4096)  # as many made, however many are taken in
    for read in reads[: commands // core.BATCH]:
        loop.turn(read)
    assert loop.answered == commands, "every command was answered"


def cost_of(subject: str, side: str, size: int, messages: int) -> int:
    """Of a whole process."""
    options = {"--size": size, "--messages": messages, "--subject": subject, "--side": side}
    return instructions(__file__, *(str(each) for option in options.items() for each in option))


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=165)
    parser.add_argument("--messages", type=int, default=30 * BATCH)
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=MOST, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    size, many = arguments.size, arguments.messages // BATCH * BATCH
    if arguments.subject == COMMAND:
        answer(many)
        return 0
    if arguments.subject is not None:
        receive(arguments.subject, arguments.side, size, many)
        return 0
    few = many // 4 // BATCH * BATCH

    def cost(side: str, subject: str) -> float:
        more = cost_of(subject, side, size, many) - cost_of(subject, side, size, few)
        return more / (many - few)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        subjects = (*product(MOST, (OURS, WSPROTO)), ("agent", COMMAND))
        costs = {each: pool.submit(cost, *each) for each in subjects}
    status = 0
    for side, most in MOST.items():
        ours, theirs = costs[side, OURS].result(), costs[side, WSPROTO].result()
        print(f"{side:10} {ours:8,.0f} instructions a message of {size} bytes, {theirs:8,.0f} with wsproto")
        print(f"{side:10} {ours / theirs:8.3f} of wsproto's (at most {most})")
        status |= ours / theirs > most
    command, theirs = costs["agent", COMMAND].result(), costs["agent", WSPROTO].result()
    print(f"{COMMAND:10} {command:8,.0f} instructions a command, answered and settled")
    print(f"{COMMAND:10} {command / theirs:8.3f} of wsproto's to receive it (at most {MOST_OF_COMMAND})")
    return status | (command / theirs > MOST_OF_COMMAND)


if __name__ == "__main__":
    sys.exit(main())
