"""`run` where it cannot work, and everything on a system that lacks what Windows lacks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from artcafe_anyio import Agent
from artcafe_proto import LocalProtocolError

PATIENCE_S = 60.0


# --- where there is no place for `run` --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_run_within_an_event_loop_points_to_serve() -> None:
    with pytest.raises(LocalProtocolError, match=r"an event loop runs here already: await agent\.serve"):
        Agent(agent_id="a", tenant_id="t").run()


def test_run_beside_the_main_thread_points_to_serve() -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            Agent(agent_id="a", tenant_id="t").run()
        except LocalProtocolError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE_S)
    assert "the main thread alone: elsewhere use anyio.run(agent.serve)" in str(failures[0])


# --- what Windows lacks -----------------------------------------------------------------------------------------------

WITHOUT = """
import asyncio, functools, os, select, signal, socket, sys, types
import anyio, anyio._backends._asyncio, anyio._backends._trio, cryptography, msgspec, psutil, ssl, trio, uvloop
import getpass, http.client, logging, multiprocessing, pathlib, shutil, subprocess, tempfile

for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_SYNC", "getuid", "geteuid",
             "getgid", "getegid", "statvfs", "ST_RDONLY", "sysconf", "ctermid", "fchmod", "chown", "getloadavg"):
    delattr(os, name)
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGPIPE", "SIGKILL"):
    delattr(signal, name)
socket.socketpair = functools.partial(socket.socketpair, socket.AF_UNIX)  # as event loops need one here
del socket.AF_UNIX
for name in ("resource", "fcntl", "pwd", "grp", "termios", "pty", "tty"):
    sys.modules[name] = None

sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *_: None)

def not_there(*_):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = asyncio.SelectorEventLoop.add_reader = not_there
real_open = open
import builtins
def no_proc(path, *args, **more):
    if path == "/proc/self/statm":
        raise FileNotFoundError(path)
    return real_open(path, *args, **more)
builtins.open = no_proc
real_os_open = os.open
def no_devices(path, *args, **more):
    if str(path).startswith("/dev/tty"):
        raise FileNotFoundError(path)
    return real_os_open(path, *args, **more)
os.open = no_devices
socket.SO_EXCLUSIVEADDRUSE = socket.SO_REUSEADDR
sys.platform = "win32"
"""
PROGRAM = """
import threading
from pathlib import Path
from artcafe_anyio import Agent
from artcafe_anyio.keys import load_key
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto import ConfigError
from artcafe_proto.events import AgentOnline, Online

folder = Path(sys.argv[1])
make_key_pair(folder / "key", "ed25519", "")
(folder / "key").chmod(0o644)  # as Windows shows every file

started, ready = threading.Event(), []

async def serve():
    async with Platform(data_dir=folder / "data") as platform:
        public = load_key(str(folder / "key")).public.openssh
        await platform.create_agent("tenant-1", agent_id="a")
        await platform.add_key("tenant-1", "a", public)
        ready.append(platform.url)
        started.set()
        await anyio.sleep_forever()

threading.Thread(target=anyio.run, args=(serve,), daemon=True).start()
assert started.wait(60)

def agent(path="key"):
    return Agent(agent_id="a", tenant_id="tenant-1", private_key_path=folder / path, api_endpoint=ready[0])

try:
    agent("key.pub").run()
except ConfigError as error:
    print(error)

def end(event):
    if isinstance(event, Online):
        threading.Timer(0, os.kill, (os.getpid(), signal.SIGINT)).start()

running = agent()
running.on_event(end)
handler = signal.getsignal(signal.SIGINT)
running.run(backend=sys.argv[2])
assert signal.getsignal(signal.SIGINT) is handler
print("the end")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_agent_and_a_platform_run_without_what_windows_lacks(tmp_path: Path, backend: str) -> None:
    program = WITHOUT + PROGRAM
    environment = {**os.environ, "SSH_AUTH_SOCK": "somewhere"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), backend],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    refusal, end = done.stdout.splitlines() or ("", "")
    assert refusal.endswith(
        "key.pub is a public key, so an ssh-agent signs, and Python reaches none on this system: give the private key"
    )
    assert end == "the end", done.stderr
    assert "SIGINT: draining" in done.stderr
    assert "Traceback" not in done.stderr
