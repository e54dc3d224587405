"""Many agents in one process: the load of the platform's benchmarks. It says what it does on stdout, a line a step.

    python fleet.py PORT KIND     and on stdin: `connect COUNT`, `beat RATE SECONDS`, `hold SECONDS`

Bytes made by hand on bare sockets and one epoll, so that the load costs less than what it measures. `agents` log in as
the protocol says (challenge, signature, upgrade, over one connection); `plain` and `deflate` only open a WebSocket, and
the latter offers compression, as the guide's client does. All answer pings, and beat every 30 s unless told otherwise.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from base64 import b64encode
from collections import deque
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

INTERVAL_S = 30.0
POLL_EVERY = 20
"""Logins between two looks at the agents that are connected."""
KEY = b"\x01\x02\x03\x04"
PAD = int.from_bytes(KEY * 64)


def private_key(number: int) -> Ed25519PrivateKey:
    """The key of the agent of this number, which the platform under test knows too."""
    return Ed25519PrivateKey.from_private_bytes(sha256(b"agent %d" % number).digest())


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame of at most 256 bytes."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
    return head + KEY + (int.from_bytes(payload) ^ PAD >> 8 * (256 - size)).to_bytes(size)


def heartbeat(number: int) -> bytes:
    """What an idle agent sends."""
    data = f'{{"agent_id":"agent-{number}","status":"online","cpu_usage":0.5,"memory_usage":31.25}}'
    identity = f"hb-{number:032x}"
    text = f'{{"type":"heartbeat","id":"{identity}","data":{data},"timestamp":"2026-05-01T12:34:56.789Z"}}'
    return frame(1, text.encode())


class Fleet:
    """The agents and their one loop."""

    def __init__(self, port: int, kind: str) -> None:
        self.lost = 0
        self.beats = 0
        self.pings = 0
        self._port = port
        self._kind = kind
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._due: deque[tuple[float, int, bytes]] = deque()  # all have one interval: the first is the earliest
        self._steady: list[tuple[int, bytes]] = []

    def connect(self, count: int) -> dict[str, Any]:
        """Connect so many more."""
        start = time.monotonic()
        for done in range(count):
            number = len(self._steady)
            sock = socket.create_connection(("127.0.0.1", self._port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open(sock, number)
            beat = heartbeat(number)
            sock.send(beat)
            self.beats += 1
            self._sockets[sock.fileno()] = sock
            self._poll.register(sock.fileno(), select.EPOLLIN)
            self._due.append((time.monotonic() + INTERVAL_S, sock.fileno(), beat))
            self._steady.append((sock.fileno(), beat))
            if done % POLL_EVERY == 0:
                self._turn(0)
        return {"seconds": time.monotonic() - start}

    def hold(self, seconds: float) -> dict[str, Any]:
        """Go on for so long, every agent at its own time."""
        until = time.monotonic() + seconds
        self.beats = self.pings = 0
        latest = 0.0
        while (now := time.monotonic()) < until:
            latest = max(latest, now - self._due[0][0])
            self._turn(max(min(until, self._due[0][0]) - now, 0))
        return {"beats": self.beats, "pings": self.pings, "lost": self.lost, "latest_s": latest}

    def beat(self, rate: float, seconds: float) -> dict[str, Any]:
        """Heartbeats one at a time, evenly spaced, of all agents in turn."""
        start, sent, number = time.monotonic(), 0, 0
        while (now := time.monotonic()) < start + seconds:
            if sent < (now - start) * rate:
                fd, beat = self._steady[number]
                self._sockets[fd].send(beat)
                number = (number + 1) % len(self._steady)
                sent += 1
            else:
                time.sleep(0.0001)
                self._serve(0)
        return {"beats": sent, "lost": self.lost}

    def _turn(self, timeout_s: float) -> None:
        self._serve(timeout_s)
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            when, fd, beat = self._due.popleft()
            if fd in self._sockets:
                self._sockets[fd].send(beat)
                self.beats += 1
                self._due.append((when + INTERVAL_S, fd, beat))

    def _serve(self, timeout_s: float) -> None:
        for fd, _ in self._poll.poll(timeout_s):
            try:
                data = self._sockets[fd].recv(4096)
            except OSError:
                data = b""
            if not data or data[0] == 0x88:
                self._poll.unregister(fd)
                self._sockets.pop(fd).close()
                self.lost += 1
            elif data[0] == 0x89:  # a ping, alone: an idle agent is sent nothing else
                self.pings += 1
                self._sockets[fd].send(frame(0xA, data[2 : 2 + data[1]]))

    # --- the way in ---------------------------------------------------------------------------------------------------

    def _open(self, sock: socket.socket, number: int) -> None:
        fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        if self._kind == "agents":
            fields += f"Authorization: Bearer {self._log_in(sock, number)}\r\n"
        elif self._kind == "deflate":
            fields += "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        path = f"/api/v1/ws/agent/agent-{number}"
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
        sock.sendall(head.encode())
        answer = _read_answer(sock)[0]
        if not answer.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"agent {number} was refused: {answer!r}")

    def _log_in(self, sock: socket.socket, number: int) -> str:
        agent_id = f"agent-{number}"
        challenge = _post(sock, "challenge", {"agent_id": agent_id})["challenge"]
        signature = private_key(number).sign(challenge.encode())
        proof = {"challenge": challenge, "response": b64encode(signature).decode()}
        return _post(sock, "verify", {"tenant_id": "tenant-1", "agent_id": agent_id, **proof})["token"]


def _post(sock: socket.socket, what: str, body: dict[str, str]) -> dict[str, Any]:
    raw = json.dumps(body).encode()
    fields = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n"
    sock.sendall(f"POST /api/v1/auth/{what} HTTP/1.1\r\n{fields}\r\n".encode() + raw)
    return json.loads(_read_answer(sock)[1])


def _read_answer(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += _receive(sock)
    return head, body


def _receive(sock: socket.socket) -> bytes:
    data = sock.recv(4096)
    if not data:
        raise SystemExit("the platform closed a connection that was being opened")
    return data


def main() -> None:
    """Do what stdin says."""
    fleet = Fleet(int(sys.argv[1]), sys.argv[2])
    for line in sys.stdin:
        match line.split():
            case ["connect", count]:
                done = fleet.connect(int(count))
            case ["beat", rate, seconds]:
                done = fleet.beat(float(rate), float(seconds))
            case ["hold", seconds]:
                done = fleet.hold(float(seconds))
            case other:
                raise SystemExit(f"no such step: {other}")
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
