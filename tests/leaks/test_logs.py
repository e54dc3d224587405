"""TOK-4: a whole life of an agent and a platform, logged at DEBUG by everybody, asyncio's debug mode included."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from random import Random
from typing import Any, Final

import anyio
import pytest
import trustme
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from artcafe_anyio import Agent
from artcafe_cli.tenant_client import Operator
from artcafe_platform import Platform
from artcafe_proto import ConfigError, PlatformConfig, SigningKey
from artcafe_proto.events import AgentEvent, CommandAnswered, HubEvent, KeyChanged, Offline, Online, TokenRenewed
from artcafe_proto.policies.challenges import ChallengeBook
from artcafe_proto.policies.token_issuer import TokenIssuer
from support.canaries import Canaries, traceback_text

SEEDS: Final = tuple(Random(number).randbytes(32) for number in (50, 51))
PASSPHRASE: Final = "passphrase-" + Random(52).randbytes(12).hex()
TENANT_TOKEN: Final = "tenant-token-" + Random(53).randbytes(20).hex()
PROXY_PASSWORD: Final = "proxy-password-" + Random(54).randbytes(20).hex()
TENANT, AGENT = "tenant-1", "agent-1"
PATIENCE_S = 60.0


class Secrets:
    """What was issued and signed while it was watched, and what is known from the beginning."""

    def __init__(self) -> None:
        self.drawn: dict[str, list[str | bytes]] = {"token": [], "challenge": [], "signature": []}

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Learn of every token, challenge and signature that is made."""
        for kind, method, name in (
            (TokenIssuer, "issue", "token"),
            (ChallengeBook, "issue", "challenge"),
            (SigningKey, "sign", "signature"),
        ):
            monkeypatch.setattr(kind, method, self._noting(getattr(kind, method), name))

    def _noting(self, make: Any, name: str) -> Any:
        def made(*args: Any, **kwargs: Any) -> Any:
            self.drawn[name].append(value := make(*args, **kwargs))
            return value

        return made

    def canaries(self) -> Canaries:
        """A search for all of them."""
        secrets: dict[str, str | bytes] = {
            "first seed": SEEDS[0],
            "second seed": SEEDS[1],
            "passphrase": PASSPHRASE,
            "tenant token": TENANT_TOKEN,
            "proxy password": PROXY_PASSWORD,
        }
        for name, values in self.drawn.items():
            assert len(values) >= 2, name
            for number, value in enumerate(values):
                secrets[f"{name} {number}"] = value
                if isinstance(value, bytes):  # without the name of its algorithm
                    secrets[f"{name} {number}, bare"] = value[-64:]
        return Canaries(secrets)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    watched = Secrets()
    watched.watch(monkeypatch)
    return watched


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Every record of every logger."""
    for name in (None, "artcafe", "artcafe.agent", "artcafe_platform", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def write_key(path: Path, seed: bytes) -> Path:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    encryption = BestAvailableEncryption(PASSPHRASE.encode())
    path.touch(mode=0o600)
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


def shown(records: list[logging.LogRecord]) -> str:
    """What a log file holds, and what tools add that keep the arguments and the locals."""
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    parts: list[str] = []
    for record in records:
        parts += [formatter.format(record), repr(vars(record))]
        if record.exc_info and record.exc_info[1]:
            parts.append(traceback_text(record.exc_info[1]))
    return "\n".join(parts)


class Life:
    """An agent with two keys, the first of which is not registered, and what has happened to it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.events: list[AgentEvent | HubEvent] = []
        self._news = anyio.Event()
        self.keys = [write_key(folder / f"key{number}", seed) for number, seed in enumerate(SEEDS)]
        self.agent = Agent(
            agent_id=AGENT,
            tenant_id=TENANT,
            api_endpoint=url,
            private_key_path=self.keys[0],
            next_private_key_path=self.keys[1],
            passphrase=lambda _: PASSPHRASE,
            extra_headers=(("x-proxy-key", PROXY_PASSWORD),),
            jitter=0.0,
        )
        self.agent.on_event(self.note)
        self.agent.on_event(self.fail)
        self.agent.command("crash")(self.crash)

    def second(self) -> Agent:
        """The agent with its second key alone."""
        return self.agent.configured(private_key_path=self.keys[1], next_private_key_path=None)

    def note(self, event: AgentEvent | HubEvent) -> None:
        self.events.append(event)
        self._news.set()
        self._news = anyio.Event()

    def fail(self, event: AgentEvent) -> None:
        if isinstance(event, Online):
            raise ArithmeticError("an author's mistake")

    async def crash(self, text: str) -> None:
        raise ZeroDivisionError(text)

    async def until(self, kind: type[Any], times: int = 1) -> None:
        with anyio.fail_after(PATIENCE_S):
            while sum(isinstance(event, kind) for event in self.events) < times:
                await self._news.wait()


async def live(folder: Path) -> None:
    """Login refused, login, a handler that crashes, renewal, a lost link, and again; then no TLS, and no key."""
    asked = PlatformConfig(token_life=1.0)
    async with Platform(tenants={TENANT: TENANT_TOKEN}, config=asked) as platform:
        life = Life(folder, platform.url)
        platform.on_event(life.note)
        operator = Operator(platform.url, TENANT_TOKEN)
        public = SigningKey(Ed25519PrivateKey.from_private_bytes(SEEDS[1])).public.openssh
        await to_thread.run_sync(operator.register, AGENT, public)
        async with life.agent:
            await life.until(KeyChanged)
            life.agent.stop(drain=False)  # rather than wait for 5 s
        async with life.second():
            await life.until(Online)
            await to_thread.run_sync(operator.send, AGENT, "crash", {"text": "mine"}, None)
            await life.until(CommandAnswered)
            await life.until(TokenRenewed)
            assert platform.abort_agent(AGENT)
            await life.until(Online, times=2)
    await refused_by_tls(life.agent)
    with pytest.raises(ConfigError, match="no key file"):
        await life.agent.configured(private_key_path="no key file").serve()


async def refused_by_tls(agent: Agent) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    async with Platform(tenants={TENANT: TENANT_TOKEN}, ssl_context=context) as platform:
        life_ended = anyio.Event()
        stranger = agent.configured(api_endpoint=platform.url)

        @stranger.on_event
        def look(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
            if isinstance(event, Offline):
                assert "tls" in event.reason
                life_ended.set()

        async with stranger:
            with anyio.fail_after(PATIENCE_S):
                await life_ended.wait()


async def live_slowly(folder: Path) -> None:
    """The same, while asyncio logs every callback with its arguments."""
    asyncio.get_running_loop().slow_callback_duration = 0.0
    await live(folder)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tok_4_a_whole_life_leaves_no_secret_in_any_log(
    backend: str,
    tmp_path: Path,
    secrets: Secrets,
    everything: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if backend == "asyncio":
        anyio.run(live_slowly, tmp_path, backend_options={"debug": True})
    else:
        anyio.run(live, tmp_path, backend=backend)
    names = {record.name for record in everything.records}
    assert {"artcafe.agent", "artcafe_platform"} <= names
    assert ("asyncio" in names) is (backend == "asyncio")
    text = shown(everything.records)
    for said in ("key refused", "token renewed", "ZeroDivisionError: mine", "ArithmeticError", "offline"):
        assert said in text
    out, err = capfd.readouterr()
    assert secrets.canaries().found_in(text + out + err) == []


def test_tok_4_a_secret_in_a_log_would_be_found(
    tmp_path: Path, secrets: Secrets, everything: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("artcafe.agent")
    checked = TokenIssuer.check

    def careless(issuer: TokenIssuer, token: str, wall: float) -> Any:
        log.debug("checking", extra={"token": token})
        return checked(issuer, token, wall)

    monkeypatch.setattr(TokenIssuer, "check", careless)
    anyio.run(live, tmp_path)
    assert any(found.startswith("token") for found in secrets.canaries().found_in(shown(everything.records)))
