"""From the start of an agent's process to its first heartbeat, beside the guide's example.

    .venv/bin/python tests/benchmarks/startup.py [--repeats 15]

Each agent is a process of its own: a script as its author would write it, with an Ed25519 key in a file. The platform
is this process: it answers challenge, verify and upgrade from bytes made before, and looks at the clock when the first
frame comes. The agents take turns; the figures are medians. Byte code is compiled by a first run that is not counted.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

OURS, OURS_TRIO, GUIDE, BARE = "agent", "agent, trio", "guide (websockets, httpx, paramiko)", "an empty script"


# --- the agents -------------------------------------------------------------------------------------------------------


OUR_SCRIPT = """
from artcafe_anyio import Agent

agent = Agent(
    agent_id="agent-1",
    tenant_id="tenant-1",
    private_key_path={key!r},
    api_endpoint="http://127.0.0.1:{port}",
)

@agent.command("echo")
async def echo(text: str) -> dict[str, str]:
    return {{"text": text}}

agent.run(backend={backend!r})
"""

GUIDE_SCRIPT = """
import asyncio
import base64
import json
import uuid
from datetime import datetime

import httpx
import jwt
import paramiko
import websockets

async def main():
    async with httpx.AsyncClient() as client:
        url = "http://127.0.0.1:{port}/api/v1/auth"
        challenge = (await client.post(url + "/challenge", json={{"agent_id": "agent-1"}})).json()
        key = paramiko.Ed25519Key.from_private_key_file({key!r})
        signature = base64.b64encode(key.sign_ssh_data(challenge["challenge"].encode()).asbytes()).decode()
        proof = {{"challenge": challenge["challenge"], "response": signature}}
        body = {{"tenant_id": "tenant-1", "agent_id": "agent-1", **proof}}
        result = (await client.post(url + "/verify", json=body)).json()
    jwt.decode(result["token"], options={{"verify_signature": False}})
    headers = {{"Authorization": "Bearer " + result["token"]}}
    async with websockets.connect("ws://127.0.0.1:{port}/api/v1/ws/agent/agent-1", additional_headers=headers) as ws:
        data = {{"agent_id": "agent-1", "status": "online", "cpu_usage": 0.0, "memory_usage": 0.0}}
        heartbeat = {{"type": "heartbeat", "id": "hb-" + str(uuid.uuid4()), "data": data}}
        await ws.send(json.dumps(heartbeat | {{"timestamp": datetime.now().isoformat()}}))
        await ws.recv()

asyncio.run(main())
"""


def script(name: str, port: int, key: Path) -> str:
    """What the process runs."""
    text = GUIDE_SCRIPT if name == GUIDE else OUR_SCRIPT
    return text.format(port=port, key=str(key), backend="trio" if name == OURS_TRIO else "asyncio")


# --- the platform -----------------------------------------------------------------------------------------------------


class Platform(threading.Thread):
    """Answers whoever comes, and notes when the first frame does."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.first_frame = threading.Event()
        self.came_at = 0.0

    def run(self) -> None:
        """Every connection in a thread."""
        while True:
            sock, _ = self._listener.accept()
            threading.Thread(target=self._attend, args=(sock,), daemon=True).start()

    def _attend(self, sock: socket.socket) -> None:
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                while (request := _read_request(sock)) is not None:
                    sock.sendall(_answer(request))
                    if request.startswith(b"GET"):
                        if sock.recv(65_536):
                            self.came_at = time.perf_counter()
                            self.first_frame.set()
                        return
            except OSError:
                return


def _read_request(sock: socket.socket) -> bytes | None:
    data = b""
    while not data.endswith((b"\r\n\r\n", b"}")):
        piece = sock.recv(65_536)
        if not piece:
            return None
        data += piece
    return data


def _answer(request: bytes) -> bytes:
    if request.startswith(b"GET"):
        from artcafe_proto.wires.handshake import accept_headers

        key = request[request.lower().index(b"sec-websocket-key: ") + 19 :][:24].decode()
        fields = "".join(f"{name}: {value}\r\n" for name, value in accept_headers(key))
        return f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode()
    claims = urlsafe_b64encode(b'{"iat":1700000000,"exp":1900000000}').rstrip(b"=").decode()
    token = f'{{"valid":true,"token":"eyJhbGciOiJFZERTQSJ9.{claims}.c2ln"}}'
    challenge = '{"challenge":"a-challenge-that-is-long-enough","expires_at":"2026-05-01T12:34:56.789Z"}'
    body = challenge if b"/challenge" in request.partition(b"\r\n")[0] else token
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


# --- figures ----------------------------------------------------------------------------------------------------------


def measure(name: str, folder: Path, platform: Platform) -> float:
    """Milliseconds from `exec` to the first heartbeat; of the empty script, to its end."""
    file = folder / "agent.py"
    file.write_text("" if name == BARE else script(name, platform.port, folder / "key"))
    platform.first_frame.clear()
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, file], stderr=subprocess.DEVNULL, env=environment)
    try:
        if name == BARE:
            process.wait(30)
            return 1e3 * (time.perf_counter() - start)
        if not platform.first_frame.wait(30):
            raise SystemExit(f"{name}: no heartbeat came")
        return 1e3 * (platform.came_at - start)
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure and print."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from benchmarks.servers import spread

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats: int = parser.parse_args().repeats
    names = (OURS, OURS_TRIO, GUIDE, BARE)
    platform = Platform()
    platform.start()
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (folder / "key").touch(mode=0o600)
        (folder / "key").write_bytes(key)
        for each in names:
            measure(each, folder, platform)
        for _ in range(repeats):
            for each in names:
                times[each].append(measure(each, folder, platform))
    print(f"{'process':38} {'ms to the first heartbeat':>25} {'spread':>7} {'least':>6}")
    for each, figures in times.items():
        print(f"{each:38} {median(figures):25.0f} {spread(figures):>7} {min(figures):6.0f}")
    ratios = [mine / theirs for mine, theirs in zip(times[OURS], times[GUIDE], strict=True)]
    print(f"{'agent ÷ guide (≤ 0.33, floor 0.5)':38} {median(ratios):25.2f} {spread(ratios):>7}")


if __name__ == "__main__":
    main()
