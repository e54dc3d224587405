"""TOK-4: at no moment of a life does an object show a secret in its repr, or let it be pickled."""

from __future__ import annotations

import copy
import pickle
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from rich.pretty import pretty_repr

from artcafe_anyio import Agent
from artcafe_anyio.testing import SimulatedPlatform
from artcafe_cli.tenant_client import Operator
from artcafe_platform import Platform
from artcafe_platform.data_dir import load_secrets
from artcafe_proto import (
    AgentProtocol,
    HttpRequest,
    HttpResponse,
    LocalProtocolError,
    PlatformHub,
    SigningKey,
    SshAgentSigning,
)
from artcafe_proto.effects import SendBody, Sign, Write
from artcafe_proto.events import AuthenticationRefused, CallAnswered, KeyChanged, Offline, Online, TokenRenewed
from artcafe_proto.policies.challenges import ChallengeBook
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import Token
from support.canaries import Canaries, own_objects
from support.virtual import AGENT, TENANT, Pair

SEED, OTHER_SEED, SIGNING_SEED = (Random(number).randbytes(32) for number in (30, 31, 32))
TENANT_TOKEN = "tenant-token-" + Random(33).randbytes(20).hex()
REFUSES_PICKLING = (TypeError, AttributeError, pickle.PicklingError)
ON_THE_WIRE: Final = {
    "challenge": rb'"challenge":"([^"]+)"',
    "signature": rb'"response":"([^"]+)"',
    "token": rb'"token":"([^"]+)"',
    "bearer": rb"(?i)authorization: Bearer ([^\r]+)",
}


class Shown:
    """All that objects have shown of themselves, by their class and how."""

    def __init__(self) -> None:
        self.texts: dict[str, set[str]] = defaultdict(set)
        self.pickles: dict[str, set[bytes]] = defaultdict(set)

    def look_at(self, *roots: object) -> None:
        """Have everything within `roots` show itself."""
        for found in own_objects(*roots):
            kind = type(found).__qualname__
            self.texts[kind] |= {repr(found), str(found)}
            fields: Any = getattr(found, "__dict__", None)
            if fields is not None:
                self.texts[f"vars({kind})"].add(repr(fields))
            if hasattr(found, "__rich_repr__"):
                self.texts[kind].add(pretty_repr(found))
            try:
                self.pickles[kind].add(pickle.dumps(found))
            except REFUSES_PICKLING:
                continue

    def leaks(self, canaries: Canaries) -> list[str]:
        """Who has shown a secret, and how."""
        shown = [("text of", self.texts), ("pickle of", self.pickles)]
        return [
            f"{how} {kind}: {found[0]}"
            for how, by_kind in shown
            for kind, each in by_kind.items()
            if (found := canaries.found_in("\n".join(map(as_text, each))))
        ]


def as_text(shown: str | bytes) -> str:
    return shown.decode("latin-1") if isinstance(shown, bytes) else shown


class WatchedPair(Pair):
    """A pair with two keys, the first of which is not registered, and whose secrets are known."""

    def __init__(self) -> None:
        settings = {"next_key": True, "agent_id": AGENT}
        super().__init__(agent=settings, platform={"token_life": 60.0})
        self.keys = [SigningKey(Ed25519PrivateKey.from_private_bytes(seed)) for seed in (OTHER_SEED, SEED)]
        self.hub = PlatformHub(self.hub.config, rng=Random(34), signing_seed=SIGNING_SEED)
        registry = self.hub.registry
        registry.add_tenant(TENANT, TENANT_TOKEN)
        registry.create_agent(TENANT, agent_id=AGENT, name="", capabilities=(), metadata={}, wall=0.0)
        registry.add_key(TENANT, AGENT, self.keys[1].public.openssh, "")
        self.said = b""
        """Everything that was written, by both sides."""

    def _sign(self, sign: Sign) -> None:
        signature = self.keys[sign.key].sign(sign.challenge.encode(), "ssh")
        self.agent.signed(sign.request, signature, self.now)

    def _to_platform(self, agent_conn: int, data: bytes) -> None:
        self.said += data + b"\n"
        for part in filter(None, (data[:40], data[40:])):  # so that something waits to be made whole
            super()._to_platform(agent_conn, part)

    def _to_agent(self, platform_conn: int, data: bytes) -> None:
        self.said += data + b"\n"
        for part in filter(None, (data[:-9], data[-9:])):
            super()._to_agent(platform_conn, part)

    def canaries(self, least: int) -> Canaries:
        """All the secrets of this life, at least so many of a kind."""
        secrets: dict[str, str | bytes] = {
            "seed": SEED,
            "other seed": OTHER_SEED,
            "signing seed": SIGNING_SEED,
            "tenant token": TENANT_TOKEN,
        }
        for name, pattern in ON_THE_WIRE.items():
            values = sorted(set(re.findall(pattern, self.said)))
            assert len(values) >= least, name
            secrets |= {f"{name} {number}": value.decode() for number, value in enumerate(values)}
        return Canaries(secrets)


def watch(monkeypatch: pytest.MonkeyPatch, pair: WatchedPair, shown: Shown) -> None:
    """Look at all there is before and after each output, and at the output."""

    def watched(kind: type[Any]) -> None:
        drawn = kind.next_output

        def next_output(machine: Any) -> Any:
            shown.look_at(pair.agent, pair.hub, pair.sessions, pair.keys)
            output = drawn(machine)
            shown.look_at(output)
            return output

        monkeypatch.setattr(kind, "next_output", next_output)

    for kind in (AgentProtocol, PlatformHub):
        watched(kind)


def test_tok_4_at_no_moment_of_a_life_an_object_shows_or_gives_away_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, shown = WatchedPair(), Shown()
    watch(monkeypatch, pair, shown)
    pair.start()
    pair.run_until(lambda: bool(pair.seen(Online)))
    pair.send()
    pair.agent.get_details(pair.now)
    pair.run_until(lambda: bool(pair.seen(TokenRenewed)))
    pair.cut()
    pair.run_until(lambda: len(pair.seen(Online)) == 2)
    (key,) = pair.hub.registry.keys(AGENT)
    pair.hub.revoke_key(TENANT, key.key_id, pair.now)
    pair.run_for(60)
    for kind in (KeyChanged, CallAnswered, Offline, AuthenticationRefused):
        assert pair.seen(kind), f"the life had a {kind.__name__}"
    met = {Token, SigningKey, TokenIssuer, ChallengeBook, HttpRequest, Sign, Write}
    assert {each.__qualname__ for each in met} <= shown.texts.keys()
    assert shown.leaks(pair.canaries(least=2)) == []


def test_tok_4_the_watch_sees_what_shows_or_gives_away_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Write, "__repr__")
    monkeypatch.delattr("artcafe_proto.secrecy.Secretive.__reduce__")
    pair, shown = WatchedPair(), Shown()
    watch(monkeypatch, pair, shown)
    pair.start()
    pair.run_until(lambda: bool(pair.seen(Online)))
    leaks = " ".join(shown.leaks(pair.canaries(least=1)))
    for leak in ("text of Write", "pickle of Write", "pickle of Token", "pickle of Sign", "pickle of HttpRequest"):
        assert leak in leaks


def test_tok_4_what_holds_a_secret_for_its_owner_keeps_it_too(tmp_path: Path) -> None:
    passphrase = "passphrase-" + Random(35).randbytes(12).hex()
    private = Ed25519PrivateKey.from_private_bytes(SEED)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    key = SigningKey.load(pem, passphrase.encode())
    challenge = "challenge-" + Random(36).randbytes(20).hex()
    signing = SshAgentSigning(key.public, challenge.encode(), "ssh")
    kept = load_secrets(tmp_path / "data")
    with_tenants = Platform(tenants={TENANT: TENANT_TOKEN})
    agent = Agent(agent_id="a", tenant_id="t", passphrase=lambda _: passphrase)
    secretive = [
        key,
        signing,
        kept,
        with_tenants,
        Operator("http://127.0.0.1:1", TENANT_TOKEN),
        TokenIssuer(SIGNING_SEED, issuer="i", life_s=1.0),
        ChallengeBook(SIGNING_SEED),
        SendBody(1, 1, TENANT_TOKEN.encode(), True),
        HttpRequest(method="POST", target="/", headers=(("authorization", TENANT_TOKEN),), body=challenge.encode()),
        HttpResponse(status=200, headers=(("x", TENANT_TOKEN),), body=challenge.encode()),
        agent,
    ]
    shown = Shown()
    shown.look_at(*secretive)
    assert {type(each).__qualname__ for each in secretive} <= shown.texts.keys()
    canaries = Canaries(
        {
            "seed": SEED,
            "signing seed": SIGNING_SEED,
            "kept seed": kept.signing_seed,
            "kept token": kept.tenant_token,
            "tenant token": TENANT_TOKEN,
            "passphrase": passphrase,
            "challenge": challenge,
            "signature": key.sign(challenge.encode(), "ssh"),
            "bare signature": key.sign(challenge.encode(), "raw"),
        }
    )
    assert shown.leaks(canaries) == []
    for each in secretive:
        for spread in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="it holds what is secret"):
                spread(each)


@pytest.mark.parametrize("spread", [pickle.dumps, copy.copy, copy.deepcopy])
def test_tok_4_whole_machines_and_agents_are_not_copied(spread: Callable[[object], object]) -> None:
    pair = WatchedPair()
    pair.start()
    pair.run_until(lambda: bool(pair.seen(Online)))
    agent = Agent(agent_id="a", tenant_id="t", extra_headers=(("x-key", TENANT_TOKEN),))
    holders = (pair.agent, pair.hub, pair.hub.authenticator, *pair.sessions.values(), agent, SimulatedPlatform(agent))
    for each in holders:
        with pytest.raises(TypeError, match=f"a {type(each).__name__} is not for copying or pickling"):
            spread(each)
    assert TENANT_TOKEN not in repr(vars(agent))


def test_tok_4_an_error_shows_no_secret_of_the_object_that_raises_it() -> None:
    with pytest.raises(LocalProtocolError) as refused:
        TokenIssuer(SIGNING_SEED[:31], issuer="i", life_s=1.0)
    assert Canaries({"seed": SIGNING_SEED[:31]}).found_in(str(refused.value)) == []
