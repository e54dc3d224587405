"""TOK-4: errors show no secret, even to what reports them with the local variables of every frame of ours."""

from __future__ import annotations

import errno
import json
import os
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP192R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from artcafe_anyio import Agent
from artcafe_anyio.keys import is_locked, load_key, passphrase_in
from artcafe_anyio.parameters import read_environment
from artcafe_anyio.signers import SignFunction
from artcafe_cli import serve
from artcafe_cli.key_files import make_key_pair, read_public_key_line
from artcafe_cli.tenant_client import Operator, RequestFailedError
from artcafe_platform import Platform
from artcafe_platform.data_dir import load_or_create_secret, load_secrets
from artcafe_proto import (
    ApiError,
    ArtCafeError,
    ConfigError,
    HttpRequest,
    Instant,
    KeyRefusedError,
    LocalProtocolError,
    PlatformConfig,
    PlatformHub,
    PublicKey,
    RemoteProtocolError,
    SigningKey,
    SshAgentSigning,
)
from artcafe_proto.events import AgentEvent, Offline
from artcafe_proto.policies import challenges
from artcafe_proto.policies.challenges import ChallengeBook
from artcafe_proto.policies.ssh_wire import pack_string
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import read_token
from artcafe_proto.secrecy import forgetful
from support.canaries import Canaries, traceback_text

SEED = Random(40).randbytes(32)
PASSPHRASE = "passphrase-" + Random(41).randbytes(12).hex()
TOKEN = "tenant-token-" + Random(42).randbytes(20).hex()
CHALLENGE = "challenge-" + Random(43).randbytes(20).hex()
PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
KEY = SigningKey(PRIVATE)
NOW = Instant(0.0, 0.0)
PATIENCE_S = 60.0


def pem(private: Any, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: str = "") -> bytes:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return private.private_bytes(Encoding.PEM, form, encryption)


def body(pem: bytes) -> str:
    """The base64 of a PEM file, but for the beginning that says what it is."""
    return "".join(pem.decode().split("\n")[1:-2])[-24:]


PLAIN, OPENSSH = pem(PRIVATE), pem(PRIVATE, PrivateFormat.OpenSSH)
ENCRYPTED = pem(PRIVATE, passphrase=PASSPHRASE)
SHORT_RSA = generate_private_key(65537, 1024)
SHORT_PEM = pem(SHORT_RSA, PrivateFormat.TraditionalOpenSSL)
NUMBERS = SHORT_RSA.private_numbers()
CANARIES = Canaries(
    {
        "seed": SEED,
        "seed but for its end": SEED[:31],
        "passphrase": PASSPHRASE,
        "token": TOKEN,
        "challenge": CHALLENGE,
        "signature": KEY.sign(CHALLENGE.encode(), "raw"),
        "encrypted key": body(ENCRYPTED),
        "short key": body(SHORT_PEM),
        "short key's p": NUMBERS.p.to_bytes(64, "big"),
        "short key's d": NUMBERS.d.to_bytes(128, "big").lstrip(b"\0"),
    }
)


def shown_by(error: BaseException) -> list[str]:
    """The secrets that an error shows, as text, with its traceback and with all local variables."""
    return CANARIES.found_in("\n".join([str(error), repr(error), traceback_text(error)]))


REFUSED_KEYS: dict[str, tuple[bytes, bytes | None]] = {
    "cut short": (PLAIN[:-40], None),
    "not base64": (PLAIN.replace(b"MC4C", b"M?4C"), None),
    "another DER": (PLAIN.replace(b"MC4C", b"MD4C"), None),
    "a damaged OpenSSH key": (OPENSSH.replace(b"b3Bl", b"b3Bm"), None),
    "an OpenSSH key of two halves": (OPENSSH.replace(OPENSSH[90:94], b"AAAA"), None),
    "too short": (SHORT_PEM, None),
    "too large": (PLAIN + b"x" * 65_536, None),
    "another label": (PLAIN.replace(b"PRIVATE", b"SECRET"), None),
    "EC PARAMETERS before it": (b"-----BEGIN EC PARAMETERS-----\nx\n-----END EC PARAMETERS-----\n" + PLAIN, None),
    "without its passphrase": (ENCRYPTED, None),
    "with another passphrase": (ENCRYPTED, PASSPHRASE[:-1].encode()),
    "damaged, with its passphrase": (ENCRYPTED[:-60] + ENCRYPTED[-58:], PASSPHRASE.encode()),
    "a curve that is none": (pem(derive_private_key(int.from_bytes(SEED[:23], "big"), SECP192R1())) + PLAIN, None),
}


@pytest.mark.parametrize("name", REFUSED_KEYS)
def test_tok_4_a_key_that_is_refused_is_forgotten(name: str, tmp_path: Path) -> None:
    data, passphrase = REFUSED_KEYS[name]
    with pytest.raises(KeyRefusedError) as refused:
        SigningKey.load(data, passphrase)
    assert shown_by(refused.value) == []
    path = write(tmp_path / "key", data)
    with pytest.raises(ConfigError) as unusable:
        load_key(path, None if passphrase is None else lambda _: passphrase)
    assert shown_by(unusable.value) == []
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=path, api_endpoint="http://127.0.0.1:1")
    with pytest.raises(ConfigError) as failed:
        anyio.run(agent.serve)
    assert shown_by(failed.value) == []


def write(path: Path, data: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return str(path)


def test_tok_4_a_passphrase_callback_that_fails_shows_no_key_and_the_like(tmp_path: Path) -> None:
    def fails(path: str) -> str:
        raise OSError(path)

    path = write(tmp_path / "key", ENCRYPTED)
    with pytest.raises(OSError, match="key") as failed:
        load_key(path, fails)
    assert shown_by(failed.value) == []
    with pytest.raises(ConfigError) as large:
        passphrase_in(write(tmp_path / "passphrase", PASSPHRASE.encode() * 3000))("")
    assert shown_by(large.value) == []
    os.chmod(path, stat.S_IRUSR | stat.S_IRGRP)
    with pytest.raises(ConfigError) as opened:
        is_locked(path)
    assert shown_by(opened.value) == []


def request(body: bytes, *headers: tuple[str, str]) -> HttpRequest:
    return HttpRequest(method="POST", target="/", headers=headers, body=body)


HUB = PlatformHub(PlatformConfig(), rng=Random(44), signing_seed=SEED)
CALLS: dict[str, tuple[Callable[[], object], type[ArtCafeError]]] = {
    "a signing seed of another size": (
        lambda: PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=SEED + b"x"),
        LocalProtocolError,
    ),
    "an issuer's seed of another size": (lambda: TokenIssuer(SEED + b"x", issuer="", life_s=1.0), LocalProtocolError),
    "a short secret of challenges": (lambda: ChallengeBook(SEED[:31]), LocalProtocolError),
    "a tenant token that is none": (lambda: HUB.registry.add_tenant("t", TOKEN + " "), ConfigError),
    "a tenant's caller": (lambda: HUB.principal(request(b"", ("authorization", f"Bearer {TOKEN}")), NOW), ApiError),
    "a token that is none": (lambda: read_token(TOKEN + " ", None, NOW), RemoteProtocolError),
    "a token of another's": (lambda: TokenIssuer(SEED, issuer="", life_s=1.0).check(TOKEN, 0.0), RemoteProtocolError),
    "an ssh-agent's signature of something else": (
        lambda: SshAgentSigning(KEY.public, b"another challenge", "ssh").receive_data(
            pack_string(b"\x0e" + pack_string(KEY.sign(CHALLENGE.encode(), "ssh")))
        ),
        RemoteProtocolError,
    ),
    "an agent whose key is in the place of its path": (
        lambda: Agent(agent_id="a", tenant_id="t", private_key_path=PLAIN.decode()),
        ConfigError,
    ),
    "the same from its copy": (
        lambda: Agent(agent_id="a", tenant_id="t").configured(private_key_path=PLAIN.decode()),
        ConfigError,
    ),
    "an agent with a bad header": (
        lambda: Agent(agent_id="a", tenant_id="t", extra_headers=(("x-key", TOKEN + "\n"),)),
        ConfigError,
    ),
    "an agent whose id is missing": (
        lambda: Agent(tenant_id="t", extra_headers=(("x-key", TOKEN),)).config,
        ConfigError,
    ),
    "an agent with a password in its endpoint": (
        lambda: Agent(agent_id="a", tenant_id="t", api_endpoint=f"https://u:{TOKEN}@host"),
        ConfigError,
    ),
    "a platform that would take tokens in the clear": (lambda: Platform(tenants={"t": TOKEN}, host="::"), ConfigError),
    "an operator's token that is none": (lambda: Operator("http://127.0.0.1:1", f"{TOKEN} x"), ConfigError),
    "an operator's token in the clear": (lambda: Operator("http://192.0.2.1", TOKEN), ConfigError),
    "an operator whose platform is not there": (
        lambda: Operator("http://127.0.0.1:1", TOKEN).agents(),
        RequestFailedError,
    ),
    "a platform's command without a port": (lambda: serve.serve_platform("::1", -1, None, TOKEN), ConfigError),
}


@pytest.mark.parametrize("name", CALLS)
def test_tok_4_what_fails_forgets_the_secrets_it_was_given(name: str) -> None:
    call, kind = CALLS[name]
    with pytest.raises(kind) as failed:
        call()
    assert shown_by(failed.value) == []


def test_tok_4_a_signature_in_no_known_format_shows_no_challenge() -> None:
    with pytest.raises(AssertionError) as failed:
        KEY.sign(CHALLENGE.encode(), "x509")  # pyright: ignore[reportArgumentType]
    assert shown_by(failed.value) == []


@pytest.mark.parametrize("make", [lambda: PublicKey(SHORT_RSA.public_key()), lambda: SigningKey(SHORT_RSA)])
def test_auth_5_the_refusal_of_a_key_can_be_reported_although_the_key_was_never_made(
    make: Callable[[], object],
) -> None:
    with pytest.raises(KeyRefusedError) as refused:
        make()
    assert "1024 bits" in traceback_text(refused.value)
    assert shown_by(refused.value) == []


def test_tok_4_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTCAFE_TENANT_TOKEN", TOKEN)
    monkeypatch.setenv("ARTCAFE_HEARTBEAT_INTERVAL", "soon")
    for call in (read_environment, Agent.from_env):
        with pytest.raises(ConfigError) as failed:
            call()
        assert shown_by(failed.value) == []


def test_tok_4_a_key_in_a_variable_of_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTCAFE_PRIVATE_KEY_PATH", PLAIN.decode())
    with pytest.raises(ConfigError, match="must be the path of a file") as failed:
        Agent.from_env(agent_id="a", tenant_id="t")
    assert shown_by(failed.value) == []


def test_tok_4_a_verify_that_is_put_off_shows_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "MAX_CONSUMED_CHALLENGES", 0)
    signature = b64encode(KEY.sign(CHALLENGE.encode(), "raw")).decode()
    body = {"tenant_id": "t", "agent_id": "a", "challenge": CHALLENGE, "response": signature}
    with pytest.raises(ApiError) as busy:
        HUB.authenticator.verify(request(json.dumps(body).encode(), ("content-type", "application/json")), None, NOW)
    assert busy.value.status == 503
    assert shown_by(busy.value) == []


def test_tok_4_a_secret_that_cannot_be_kept_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(ConfigError) as failed:
        load_or_create_secret(tmp_path / "secret", TOKEN.encode)
    assert shown_by(failed.value) == []


def test_tok_4_a_data_directory_whose_secrets_are_damaged_shows_none(tmp_path: Path) -> None:
    kept = load_secrets(tmp_path)
    (tmp_path / "signing-key").write_text(kept.signing_seed.hex()[:-2])
    (tmp_path / "tenant-token").write_text(TOKEN)
    with pytest.raises(ConfigError) as damaged:
        load_secrets(tmp_path)
    assert shown_by(damaged.value) == []
    assert Canaries({"seed": kept.signing_seed[:-1]}).found_in(traceback_text(damaged.value)) == []


async def _enter(platform: Platform) -> None:
    async with platform:
        pass


def test_tok_4_a_platform_that_does_not_start_shows_no_token(tmp_path: Path) -> None:
    for tenants in ({"t": TOKEN, "u": TOKEN}, {"t": TOKEN, "u": "short"}):
        with pytest.raises(ConfigError) as failed:
            anyio.run(_enter, Platform(tenants=tenants))
        assert shown_by(failed.value) == []


def test_tok_4_a_key_that_cannot_be_written_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ed25519PrivateKey, "generate", lambda: PRIVATE)
    (tmp_path / "key").touch()
    with pytest.raises(ConfigError) as failed:
        make_key_pair(tmp_path / "key", "ed25519", "comment")
    assert shown_by(failed.value) == []


def test_tok_4_a_private_key_that_is_to_be_registered_is_forgotten(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="that is a private key") as refused:
        read_public_key_line(Path(write(tmp_path / "key", PLAIN)))
    assert shown_by(refused.value) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("is_async", [False, True])
def test_tok_4_a_signer_that_fails_is_logged_without_the_challenge(
    backend: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    challenges: list[str] = []

    def sign(challenge: bytes) -> bytes:
        challenges.append(challenge.decode())
        raise ZeroDivisionError

    async def sign_later(challenge: bytes) -> bytes:
        return sign(challenge)

    anyio.run(_sign_once, sign_later if is_async else sign, backend=backend)
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert len(challenges) == len(errors) == 1
    assert isinstance(errors[0], ZeroDivisionError)
    text = traceback_text(errors[0], everything=True)
    assert Canaries({"challenge": challenges[0]}).found_in(text) == []
    assert "in sign\n" in text, "it says all the same where it failed"


async def _sign_once(sign: SignFunction) -> None:
    failed = anyio.Event()
    async with Platform(tenants={"t": TOKEN}) as platform:
        agent = Agent(agent_id="a", tenant_id="t", api_endpoint=platform.url)

        @agent.on_event
        def look(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
            if isinstance(event, Offline):
                failed.set()

        async with agent.running(sign=sign):
            with anyio.fail_after(PATIENCE_S):
                await failed.wait()


def test_tok_4_such_locals_would_be_found() -> None:
    def careless(data: bytes, passphrase: str) -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$") as failed:
        careless(PLAIN, PASSPHRASE)
    text = traceback_text(failed.value, everything=True)
    assert any(found.startswith("seed") for found in CANARIES.found_in(text))
    assert any(found.startswith("passphrase") for found in CANARIES.found_in(text))
    assert b64encode(SEED)[:20].decode() not in text, "the seed is found within the file's own base64"


class OddError(Exception):
    """It is false, and cannot be compared."""

    def __bool__(self) -> bool:
        return False

    def __eq__(self, other: object) -> NoReturn:
        raise ZeroDivisionError


def test_tok_4_what_fails_forgets_its_secrets_whatever_class_the_cause_is_of() -> None:
    def fail(passphrase: str) -> NoReturn:
        raise OddError

    @forgetful
    def use(passphrase: str) -> None:
        try:
            fail(passphrase)
        except OddError as error:
            raise KeyError from error

    with pytest.raises(KeyError) as failed:
        use(PASSPHRASE)
    assert CANARIES.found_in(traceback_text(failed.value, everything=True)) == []
