"""TOK-4: the traces of the testing package, and what `artcafe demo` tells, hold no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from artcafe_proto.policies.challenges import ChallengeBook
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.testing import InvariantError, Simulation
from artcafe_proto.testing.wiretap import Wiretap, WrittenRequest
from support.canaries import Canaries, own_objects

SEED = bytes(range(32))  # a simulation's one key


def note(monkeypatch: pytest.MonkeyPatch, kind: type[Any], method: str, into: list[str | bytes]) -> None:
    make = getattr(kind, method)

    def made(*args: Any, **kwargs: Any) -> Any:
        into.append(value := make(*args, **kwargs))
        return value

    monkeypatch.setattr(kind, method, made)


def test_tok_4_a_simulation_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str | bytes] = []
    for kind, method in ((TokenIssuer, "issue"), (ChallengeBook, "issue"), (SigningKey, "sign")):
        note(monkeypatch, kind, method, drawn)
    sim = Simulation(3, agents=3, seconds=300.0)
    traced: list[str] = []
    told = sim.told

    def tell(who: str, what: object) -> None:
        told(who, what)
        traced.append(f"{who} {what} {what!r}")

    monkeypatch.setattr(sim, "told", tell)
    sim.run_for(300.0)
    traced += [repr(found) for found in own_objects(sim)]
    with pytest.raises(InvariantError) as broken:
        sim.invariants.check("a drain ends in time", False, "as a test wants it")
    traced += [str(broken.value), *sim.last_events]
    assert len(drawn) >= 6
    assert len(traced) >= 50
    canaries = Canaries({"seed": SEED} | {f"drawn {number}": value for number, value in enumerate(drawn)})
    assert canaries.found_in("\n".join(traced)) == []
    assert canaries.found_in(f"{drawn[0]!r} {drawn[-1]!r}"), "which would be found"


def test_tok_4_a_wiretap_that_reads_no_request_does_not_quote_what_it_reads() -> None:
    token = "token-of-somebody-0123456789abcdef"
    request = f"GET / HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    canaries = Canaries({"token": token})
    assert canaries.found_in(repr(WrittenRequest(request))) == []
    with pytest.raises(AssertionError, match="expected a request") as broken:
        Wiretap().read(request[15:])
    assert canaries.found_in(str(broken.value)) == []


HOOK = """
import atexit, json, secrets, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from artcafe_proto.policies.challenges import ChallengeBook
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.token_issuer import TokenIssuer

drawn = {}

def note(kind, method, name, text):
    make = getattr(kind, method)
    def made(*args, **kwargs):
        value = make(*args, **kwargs)
        drawn[f"{name} {len(drawn)}"] = text(value)
        return value
    setattr(kind, method, made)

note(secrets, "token_urlsafe", "tenant token", str)
note(secrets, "token_bytes", "signing seed", bytes.hex)
note(Ed25519PrivateKey, "generate", "agent's seed", lambda key: key.private_bytes_raw().hex())
note(TokenIssuer, "issue", "token", str)
note(ChallengeBook, "issue", "challenge", str)
note(SigningKey, "sign", "signature", bytes.hex)

path = sys.argv.pop(1)
atexit.register(lambda: json.dump(drawn, open(path, "w")))
"""


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_tok_4_the_demo_tells_no_secret(options: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "drawn.json"
    program = f"{HOOK}\nfrom artcafe_cli.main import main\nmain()\n"
    command = [sys.executable, "-c", program, str(path), "demo", "--seconds", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    drawn: dict[str, str] = json.loads(path.read_text())
    in_hex = ("signing seed", "agent's seed", "signature")
    secrets = {name: bytes.fromhex(value) if name.startswith(in_hex) else value for name, value in drawn.items()}
    for name in ("tenant token", "signing seed", "agent's seed", "token", "challenge", "signature"):
        assert any(each.startswith(name) for each in secrets), name
    told = done.stdout + done.stderr
    assert "heartbeat" in told
    assert Canaries(secrets).found_in(told) == []
