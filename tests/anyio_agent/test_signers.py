"""AUTH-6: a real ssh-agent, functions of the author's, and a second key, against the reference platform."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from artcafe_anyio import Agent
from artcafe_anyio.keys import load_key
from artcafe_platform import Platform
from artcafe_proto import ConfigError, SigningRefusedError
from artcafe_proto.events import KeyChanged, Offline, Online
from support.openssh import need

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0


@pytest.fixture
def ssh_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of OpenSSH's, at SSH_AUTH_SOCK."""
    need("ssh-keygen", "ssh-agent", "ssh-add")
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    while not socket.exists():
        assert process.poll() is None
    yield
    process.terminate()
    process.wait()


def make_key(folder: Path, kind: str, name: str = "key") -> Path:
    path = folder / name
    options = ("-b", "2048") if kind == "rsa" else ()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-f", path], check=True)
    return path


async def events_until(kind: type[Any], *keys: Path, sign: Any = None, **parameters: Any) -> list[Any]:
    """Run an agent whose `keys` are registered until an event of `kind`; gives all its events."""
    events: list[Any] = []
    async with Platform() as platform:
        await platform.create_agent("tenant-1", agent_id="a")
        for key in keys:
            await platform.add_key("tenant-1", "a", load_key(str(key)).public.openssh)
        own: Any = {"agent_id": "a", "tenant_id": "tenant-1", "api_endpoint": platform.url}
        agent = Agent(**(own | parameters))
        seen = anyio.Event()

        def note(event: object) -> None:
            events.append(event)
            if isinstance(event, kind):
                seen.set()

        agent.on_event(note)
        with anyio.fail_after(PATIENCE_S):
            async with agent.running(sign=sign):
                await seen.wait()
    return events


def ssh_add(key: Path) -> None:
    subprocess.run(["ssh-add", "-q", key], check=True)


@pytest.mark.parametrize("signature_format", ["ssh", "raw", "sshsig"])
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
async def test_auth_6_a_real_ssh_agent_signs(tmp_path: Path, ssh_agent: None, kind: str, signature_format: str) -> None:
    key = make_key(tmp_path, kind)
    ssh_add(key)
    await events_until(Online, key, private_key_path=f"{key}.pub", signature_format=signature_format)


async def test_auth_6_an_ssh_agent_that_does_not_sign_is_told_with_what_to_do(
    tmp_path: Path, ssh_agent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, "ed25519")
    for prepare, says in (
        (None, "the ssh-agent holds no key, or is locked: ssh-add KEY"),
        (make_key(tmp_path, "ed25519", "other"), "the ssh-agent does not hold the key SHA256:"),
    ):
        if prepare is not None:
            ssh_add(prepare)
        events = await events_until(Offline, key, private_key_path=f"{key}.pub")
        assert says in next(event for event in events if isinstance(event, Offline)).reason
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    events = await events_until(Offline, key, private_key_path=f"{key}.pub")
    reason = next(event for event in events if isinstance(event, Offline)).reason
    assert "cannot reach the ssh-agent at " in reason
    assert "No such file or directory" in reason


async def test_auth_6_a_public_key_without_an_ssh_agent_is_a_bad_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, "ed25519")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(ConfigError, match="SSH_AUTH_SOCK does not say where it is"):
        await events_until(Online, key, private_key_path=f"{key}.pub")
    (tmp_path / "no.pub").write_bytes(b"\xff")
    for name, says in (("no.pub", "it is no text"), ("none.pub", "cannot be read: No such file")):
        with pytest.raises(ConfigError, match=says):
            await events_until(Online, key, private_key_path=str(tmp_path / name))


async def test_auth_6_an_ssh_agent_that_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path, "ed25519")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "socket"))
    listener = await anyio.create_unix_listener(tmp_path / "socket")

    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()

    events: list[Any] = []
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, hang_up)
        events = await events_until(Offline, key, private_key_path=f"{key}.pub")
        tasks.cancel_scope.cancel()
    assert "the ssh-agent closed the connection" in next(event for event in events if isinstance(event, Offline)).reason


async def test_auth_6_any_function_signs_async_or_not(tmp_path: Path) -> None:
    path = make_key(tmp_path, "ed25519")
    key = load_key(str(path))

    async def sign(challenge: bytes) -> bytes:
        return key.sign(challenge, "ssh")

    await events_until(Online, path, sign=sign)
    await events_until(Online, path, sign=lambda challenge: key.sign(challenge, "ssh"))  # pyright: ignore
    await events_until(Online, path, sign=lambda challenge: sign(challenge))  # pyright: ignore

    async def refuse(_: bytes) -> bytes:
        raise SigningRefusedError("the HSM is locked")

    events = await events_until(Offline, path, sign=refuse)
    reason = next(event for event in events if isinstance(event, Offline)).reason
    assert reason == "signing the challenge failed: the HSM is locked"


async def test_auth_6_a_second_key_signs_once_the_first_is_refused(tmp_path: Path) -> None:
    old, new = make_key(tmp_path, "ed25519", "old"), make_key(tmp_path, "ecdsa", "new")
    events = await events_until(KeyChanged, new, private_key_path=old, next_private_key_path=new)
    assert next(event for event in events if isinstance(event, KeyChanged)).key == 1


@pytest.mark.parametrize("name", ["missing", "missing.pub", "open"])
async def test_auth_6_the_second_key_is_blamed_by_its_own_name(name: str, tmp_path: Path) -> None:
    key = make_key(tmp_path, "ed25519")
    (tmp_path / "open").write_bytes(key.read_bytes())
    (tmp_path / "open").chmod(0o644)
    parameters: Any = {"agent_id": "a", "tenant_id": "t", "api_endpoint": "http://127.0.0.1:9"}
    agent = Agent(**parameters, private_key_path=key, next_private_key_path=tmp_path / name)
    with pytest.raises(ConfigError, match=r"^next_private_key_path"):
        await agent.serve()
