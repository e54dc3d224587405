"""AUTH-5: what was read from files is read again when they have changed, and no link ends by it."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from artcafe_anyio import Agent
from artcafe_anyio.credentials import Credentials
from artcafe_anyio.files import FromFiles
from artcafe_anyio.keys import load_key
from artcafe_anyio.logs import AgentLog
from artcafe_anyio.parameters import AgentParameters, LocalSettings, settings
from artcafe_anyio.signers import open_key
from artcafe_anyio.threads import Threads
from artcafe_platform import Platform, make_server_context
from artcafe_proto import ConfigError, PlatformConfig
from artcafe_proto.events import Online
from support.certificates import issue
from support.openssh import ssh_agent

PATIENCE_S = 60.0
OLD = issue(common_name="The Old Authority", is_authority=True)
NEW = issue(common_name="The New Authority", is_authority=True)


# --- what counts as a change ------------------------------------------------------------------------------------------


class Story:
    """Something made of a file, and the log of that."""

    def __init__(self, path: Path, make: Callable[[], str] | None = None) -> None:
        self.path = path
        self.lines: list[tuple[int, str]] = []
        self.made = FromFiles(make or self._read, lambda: [str(path)], self._tell)

    def _read(self) -> str:
        if not self.path.exists():
            raise ConfigError(f"{self.path} is not there")
        text = self.path.read_text()
        if text.startswith("bad"):
            raise ConfigError(f"{self.path} is {text}")
        return text

    def _tell(self, level: int, text: str, error: BaseException | None = None) -> None:
        self.lines.append((level, text.replace(str(self.path), "FILE")))


AGAIN = (logging.INFO, "FILE changed and was read again [AUTH-5]")


def rewrite(path: Path, text: str) -> None:
    """Until the file shows another time: before Linux 6.13 its clock moved only every few milliseconds."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_text(text)


def in_place(path: Path) -> None:
    rewrite(path, "two")


def in_place_with_the_old_time(path: Path) -> None:
    status = path.stat()
    rewrite(path, "two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def by_renaming(path: Path) -> None:
    status = path.stat()
    new = path.with_name("new")
    new.write_text("two")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    new.rename(path)


def by_swapping_a_link_to_its_directory(path: Path) -> None:
    (path.parent.parent / "second").mkdir()
    (path.parent.parent / "second" / path.name).write_text("two")
    (path.parent.parent / "next").symlink_to("second")
    (path.parent.parent / "next").rename(path.parent)


@pytest.mark.parametrize(
    "change", [in_place, in_place_with_the_old_time, by_renaming, by_swapping_a_link_to_its_directory]
)
def test_a_change_however_made_is_seen_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "file").write_text("one")
    (tmp_path / "current").symlink_to("first")
    story = Story(tmp_path / "current" / "file")
    assert story.made.get() == story.made.get() == "one"
    assert story.lines == []
    change(story.path)
    assert story.made.get() == story.made.get() == "two"
    assert story.lines == [AGAIN]


def test_in_a_directory_a_change_of_any_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").symlink_to(tmp_path.parent / f"{tmp_path.name}-two")
    lines: list[str] = []

    def tell(level: int, text: str, error: BaseException | None = None) -> None:
        lines.append(text)

    listed = FromFiles(lambda: sorted(os.listdir(tmp_path)), lambda: [str(tmp_path)], tell)
    (tmp_path.parent / f"{tmp_path.name}-two").write_text("2")
    listed.get()
    (tmp_path / "three").write_text("3")
    assert listed.get() == listed.get() == ["one", "three", "two"]
    assert len(lines) == 2


def test_what_cannot_be_used_leaves_the_old_in_force_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one")
    story = Story(tmp_path / "file")
    for text in ("bad", "bad", "bad and longer", "bad and longer"):
        rewrite(story.path, text)
        assert story.made.get() == story.made.get() == "one"
    story.path.unlink()
    assert story.made.get() == story.made.get() == "one"
    kept = "FILE changed, and what was read before stays in force: FILE is {} [AUTH-5]"
    assert story.lines == [(logging.WARNING, kept.format(why)) for why in ("bad", "bad and longer", "not there")]
    story.path.write_text("two")
    assert story.made.get() == "two"
    rewrite(story.path, "bad")
    story.made.get()
    assert story.lines[3:] == [AGAIN, (logging.WARNING, kept.format("bad"))]


def test_a_change_while_it_is_read_is_seen_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    texts = iter(["two", "three"])

    def read() -> str:
        text = path.read_text()
        rewrite(path, next(texts, text))
        return text

    story = Story(path, read)
    assert [story.made.get() for _ in range(3)] == ["two", "three", "three"]


def test_who_asks_while_it_is_made_anew_gets_the_old_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    asked, answered = threading.Event(), threading.Event()

    def read() -> str:
        if path.read_text() != "one":
            asked.set()
            assert answered.wait(PATIENCE_S)
        return path.read_text()

    story = Story(path, read)
    rewrite(path, "two")
    thread = threading.Thread(target=story.made.get)
    thread.start()
    assert asked.wait(PATIENCE_S)
    assert story.made.get() == "one"
    answered.set()
    thread.join(PATIENCE_S)
    assert story.made.get() == "two"


@pytest.mark.parametrize("error", [ConnectionError("the vault"), SystemExit(1)])
def test_a_callback_that_fails_is_asked_again_and_told_once(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    answers: list[BaseException | str] = ["one", error, error, "two"]

    def read() -> str:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    story = Story(path, read)
    rewrite(path, "two")
    assert [story.made.get() for _ in range(3)] == ["one", "one", "two"]
    failed = f"FILE changed, and what was read before stays in force: {type(error).__name__} [AUTH-5]"
    assert story.lines == [(logging.ERROR, failed), AGAIN]


# --- a running agent and platform -------------------------------------------------------------------------------------


def replace(path: Path, data: bytes) -> None:
    """As careful programs do: whole, or not at all."""
    new = path.with_name("new")
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.rename(path)


def make_key(path: Path, passphrase: str = "") -> None:
    made = path.with_name("made")
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f", made]
    subprocess.run(keygen, check=True)
    made.rename(path)
    made.with_name("made.pub").unlink()


class Stage:
    """A platform that asks for certificates, an agent that shows one, and every file that they have."""

    def __init__(self, folder: Path) -> None:
        self.ca_file, self.passphrase_file = folder / "ca.pem", folder / "passphrase"
        self.key_file, self.next_key_file = folder / "key", folder / "next-key"
        replace(self.ca_file, OLD.pem)
        replace(self.passphrase_file, b"first\n")
        self.server = issue("localhost", by=OLD).write(folder, "server")
        self.client = issue("client", by=OLD).write(folder, "client")
        make_key(self.key_file, "first")
        make_key(self.next_key_file)
        self.context = make_server_context(*map(str, self.server))
        self.context.verify_mode = ssl.CERT_REQUIRED  # of which nothing is lost either
        self.context.load_verify_locations(cadata=(OLD.pem + NEW.pem).decode())
        self.changed = anyio.Event()
        self.times_online = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        config = PlatformConfig(close_timeout=1, token_life=1)  # so that each link begins with a signature
        async with Platform(host="localhost", ssl_context=self.context, config=config) as platform:
            self.platform = platform
            await platform.create_agent("tenant-1", agent_id="a")
            await self.register(self.key_file, "first")
            agent = Agent(
                agent_id="a",
                tenant_id="tenant-1",
                api_endpoint=platform.url,
                ca_file=self.ca_file,
                client_cert_file=self.client[0],
                client_key_file=self.client[1],
                private_key_path=self.key_file,
                next_private_key_path=self.next_key_file,
                key_passphrase_file=self.passphrase_file,
                jitter=0,
            )
            agent.on_event(self._note)
            async with agent:
                await self.online(1)
                yield

    async def register(self, path: Path, passphrase: str) -> str:
        """Register a key; returns its fingerprint."""
        public = load_key(str(path), lambda _: passphrase).public
        await self.platform.add_key("tenant-1", "a", public.openssh)
        return public.fingerprint

    def _note(self, event: object) -> None:
        self.times_online += isinstance(event, Online)
        self.changed.set()

    async def online(self, times: int) -> None:
        """Wait until the agent has been online so often, and has been so no oftener."""
        with anyio.fail_after(PATIENCE_S):
            while self.times_online < times:
                self.changed = anyio.Event()
                await self.changed.wait()
        assert self.times_online == times

    async def cut(self) -> None:
        """Have the agent connect and sign anew, once."""
        assert self.platform.abort_agent("a")
        await self.online(self.times_online + 1)


def said(caplog: pytest.LogCaptureFixture, folder: Path) -> list[str]:
    """What the logs say of files, without their directory."""
    texts = [record.getMessage().removeprefix("a: ").replace(f"{folder}/", "") for record in caplog.records]
    return sorted(text for text in texts if "changed" in text)


@pytest.mark.anyio
async def test_every_file_is_rotated_under_a_running_agent_and_platform(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(tmp_path)
    async with stage.running():
        for files, name in ((stage.server, "localhost"), (stage.client, "client")):
            issued = issue(name, by=NEW)
            replace(files[0], issued.pem)
            replace(files[1], issued.key_pem())
        replace(stage.ca_file, NEW.pem)
        make_key(stage.key_file, "second")
        replace(stage.passphrase_file, b"second\n")
        fingerprint = await stage.register(stage.key_file, "second")
        await stage.cut()  # each side trusts the other by what is new alone
        await stage.cut()
    again = "changed and was read again"
    assert said(caplog, tmp_path) == [
        f"ca.pem, client-key.pem, client.pem, passphrase {again} [AUTH-5]",
        f"key, passphrase {again}: {fingerprint} [AUTH-5]",
        f"server-key.pem, server.pem {again} [AUTH-5]",
    ]


@pytest.mark.anyio
async def test_files_that_cannot_be_used_leave_what_was_read_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = Stage(tmp_path)
    async with stage.running():
        replace(stage.server[0], issue("localhost", by=NEW).pem)  # whose key it is not
        replace(stage.ca_file, OLD.pem[: len(OLD.pem) // 2])  # half written
        stage.client[0].unlink()
        replace(stage.key_file, b"no key")
        await stage.cut()
        await stage.cut()
    texts = said(caplog, tmp_path)
    assert [text.partition(":")[0] for text in texts] == [
        f"{files} changed, and what was read before stays in force"
        for files in ("ca.pem, client.pem", "key", "server.pem")
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["ca_file", "SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_authorities_are_read_again_however_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "ca.pem"
    replace(path, OLD.pem)
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    parameters: AgentParameters = {"agent_id": "a", "tenant_id": "t", "api_endpoint": "https://localhost"}
    if how == "ca_file":
        parameters["ca_file"] = path
    else:
        monkeypatch.setenv(how, str(path if how == "SSL_CERT_FILE" else tmp_path))
    config, machine = settings(parameters)
    async with Threads() as threads:
        trust = await Credentials(config, machine, threads, AgentLog("a")).trust()
        assert trust is not None
        before = await trust()
        assert await trust() is before
        replace(path, NEW.pem)
        after = await trust()
        assert after is not before
        if how != "SSL_CERT_DIR":  # which OpenSSL looks into when it needs something
            assert after.get_ca_certs(binary_form=True)[-1] == NEW.certificate.public_bytes(Encoding.DER)


@pytest.mark.anyio
async def test_each_key_that_signs_is_the_one_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the one that an ssh-agent is asked for."""
    path = tmp_path / "key"
    make_key(path)
    with ssh_agent(tmp_path) as where:
        monkeypatch.setenv("SSH_AUTH_SOCK", where)
        lines: list[str] = []

        def tell(level: int, text: str, error: BaseException | None = None) -> None:
            lines.append(text)

        async with Threads() as threads:
            for name in ("key", "key.pub"):
                machine = LocalSettings(private_key_path=str(tmp_path / name))
                write_public(path)
                signer, _ = await open_key("private_key_path", machine.private_key_path, None, machine, threads, tell)
                for _ in range(2):
                    public = load_key(str(path)).public
                    ssh_add(path)
                    assert public.verify(await signer(b"a challenge"), b"a challenge") == "ssh-ed25519"
                    make_key(path)
                    write_public(path)
        assert len(lines) == 2


def ssh_add(path: Path) -> None:
    subprocess.run(["ssh-add", "-q", path], check=True)


def write_public(path: Path) -> None:
    replace(path.with_name("key.pub"), load_key(str(path)).public.openssh.encode())
