"""How very many agents come back that lost their platform at once.

    .venv/bin/python tests/benchmarks/storm.py [--agents 10000] [--real 0] [--down 10]

In virtual time, with the jitter at 0 and at 1 and the platform away for some time: when the last agent is back, and
how many of all attempts, of those that met the platform, and of those of each round lie within the fullest 100 ms.

With `--real`, so many agents of one process then hold a platform over sockets, all by `AgentProtocol`. The platform is
killed, started again after `--down` seconds, at the same port and without its memory, and must let all of them in
again: their tokens are refused, and each signs in anew. Needs a file descriptor an agent on either side.
"""

from __future__ import annotations

import argparse
import resource
import select
import socket
import sys
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from artcafe_anyio.clocks import monotonic, read_clocks
from artcafe_proto import AgentConfig, AgentProtocol, SigningKey
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.events import Offline, Online
from artcafe_proto.testing.schedule import Alarms
from benchmarks.fleet import private_key
from benchmarks.servers import PLATFORM, Server, cpu_s
from support.storm import World, densest

AWAY_S = (0.0, 1.0, 3.0, 7.0, 10.0, 30.0, 60.0, 120.0)
PATIENCE_S = 600.0


def simulate(agents: int) -> None:
    """In virtual time."""
    print(f"{agents:,} agents, virtual time; parts within the fullest 100 ms")
    print(f"{'jitter':>6} {'away':>6} {'all back after':>15} {'of all':>8} {'of those that met it':>21}  of each round")
    for jitter in (0.0, 1.0):
        world = World(agents, jitter=jitter, seed=1)
        for away_s in AWAY_S:
            storm = world.lose_platform(away_s)
            rounds = " ".join(f"{densest(times):.1%}" for times in storm.rounds)
            print(
                f"{jitter:6.0f} {away_s:4.0f} s {storm.all_back_s:13.2f} s"
                f" {densest(storm.all):8.1%} {densest(storm.met):21.1%}  {rounds}",
                flush=True,
            )


class Crowd:
    """Agents over sockets, all in one loop."""

    def __init__(self, port: int, agents: int) -> None:
        self.offline: Counter[str] = Counter()
        self.online: set[int] = set()
        self.attempts = 0
        self._port = port
        self._poll = select.epoll()
        self._due = Alarms()
        self._sockets: dict[int, tuple[int, int, socket.socket]] = {}  # by descriptor: agent, its connection, socket
        self._descriptors: dict[tuple[int, int], int] = {}
        self._keys = [SigningKey(private_key(number)) for number in range(agents)]
        self._inputs: deque[tuple[int, Sign]] = deque()
        self._agents = [AgentProtocol(self._config(number), rng=Random(number)) for number in range(agents)]

    def start(self) -> None:
        """Start them, 500 a second."""
        begun = monotonic()
        for number, agent in enumerate(self._agents):
            while monotonic() < begun + number / 500:
                self.turn()
            agent.start(read_clocks())
            self._carry_out(number)

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        until = monotonic() + seconds
        while monotonic() < until:
            self.turn()

    def run_until_all_are_online(self) -> None:
        """Wait for the last."""
        until = monotonic() + PATIENCE_S
        while len(self.online) < len(self._agents):
            self.turn()
            if monotonic() > until:
                raise SystemExit(f"{len(self._agents) - len(self.online)} agents did not come back")

    def turn(self) -> None:
        """What has come, and what is due."""
        due = self._due.next()[0]
        for fd, events in self._poll.poll(min(max(due - monotonic(), 0), 0.05)):
            if fd in self._sockets:
                number, conn, sock = self._sockets[fd]
                if events & select.EPOLLOUT:
                    self._opened(number, conn, sock)
                else:
                    self._read(number, conn, sock)
                self._carry_out(number)
        mono = monotonic()
        for number in self._due.take_due(lambda time: time <= mono):
            self._agents[number].handle_timer(read_clocks())
            self._carry_out(number)

    def _config(self, number: int) -> AgentConfig:
        return AgentConfig(
            agent_id=f"agent-{number}", tenant_id="tenant-1", api_endpoint=f"http://127.0.0.1:{self._port}"
        )

    def _opened(self, number: int, conn: int, sock: socket.socket) -> None:
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._forget(number, conn)
            self._agents[number].connect_failed(conn, "refused", f"errno {error}", read_clocks())
        else:
            self._poll.modify(sock.fileno(), select.EPOLLIN)
            self._agents[number].connected(conn, read_clocks(), tls=False)

    def _read(self, number: int, conn: int, sock: socket.socket) -> None:
        try:
            data = sock.recv(65_536)
        except OSError:
            data = b""
        if data:
            self._agents[number].data_received(conn, data, read_clocks())
        else:
            self._forget(number, conn)
            self._agents[number].disconnected(conn, "the platform closed it", read_clocks())

    def _forget(self, number: int, conn: int) -> None:
        fd = self._descriptors.pop((number, conn), None)
        if fd is not None:
            self._poll.unregister(fd)
            self._sockets.pop(fd)[2].close()

    def _carry_out(self, number: int) -> None:
        agent = self._agents[number]
        while True:
            while (output := agent.next_output()) is not None:
                match output:
                    case Connect():
                        self._connect(number, output.conn)
                    case Write():
                        fd = self._descriptors.get((number, output.conn))
                        if fd is not None:
                            self._send(self._sockets[fd][2], output.data)
                    case Disconnect():
                        self._forget(number, output.conn)
                    case Sign():
                        self._inputs.append((number, output))
                    case Online():
                        self.online.add(number)
                    case Offline():
                        self.online.discard(number)
                        self.offline[output.reason] += 1
                    case _:
                        pass
            if not self._inputs:
                break
            _, sign = self._inputs.popleft()
            agent.signed(sign.request, self._keys[number].sign(sign.challenge.encode(), "ssh"), read_clocks())
        deadline = agent.deadline()
        if deadline is not None:
            self._due.set(number, deadline)

    def _connect(self, number: int, conn: int) -> None:
        self.attempts += 1
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(("127.0.0.1", self._port))
        self._sockets[sock.fileno()] = (number, conn, sock)
        self._descriptors[number, conn] = sock.fileno()
        self._poll.register(sock.fileno(), select.EPOLLOUT)

    @staticmethod
    def _send(sock: socket.socket, data: bytes) -> None:
        try:
            sent = sock.send(data)
        except OSError:
            return  # it has ended, which is read next
        assert sent == len(data), "what an idle agent says fits into any buffer"


def ride_out(agents: int, down_s: float) -> None:
    """Over sockets."""
    with Server(PLATFORM, agents) as server:
        port = server.port
        crowd = Crowd(port, agents)
        began = time.monotonic()
        crowd.start()
        crowd.run_until_all_are_online()
        print(f"{agents:,} agents over sockets: online {time.monotonic() - began:.1f} s after the first began")
        crowd.run_for(45.0)  # LINK-5: their delays begin anew
        crowd.offline.clear()
        crowd.attempts = 0
    killed_at = time.monotonic()
    crowd.run_for(down_s)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(Server, PLATFORM, agents, port)
        while not starting.done():
            crowd.turn()
    with starting.result() as server:
        returned_at = time.monotonic()
        crowd.run_until_all_are_online()
        back_at = time.monotonic()
        print(
            f"killed, and back after {returned_at - killed_at:.1f} s; all online {back_at - returned_at:.1f} s later,"
            f" {crowd.attempts / agents:.1f} attempts each, platform CPU {cpu_s(server.pid):.1f} s"
        )
        for reason, times in crowd.offline.most_common(8):
            print(f"  {times:7,} times offline: {reason}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--real", type=int, default=0)
    parser.add_argument("--down", type=float, default=10.0)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.agents:
        simulate(arguments.agents)
    if arguments.real:
        ride_out(arguments.real, arguments.down)


if __name__ == "__main__":
    main()
