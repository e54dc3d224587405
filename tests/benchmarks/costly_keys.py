"""Milliseconds that one verify without any proof costs, against sixteen of the costliest keys still allowed (AUTH-5).

    .venv/bin/python tests/benchmarks/costly_keys.py [--tries 5]

Every response is wrong in its last step only. The shapes that no key fits show what looking at a response costs.
"""

from __future__ import annotations

import argparse
import sys
from base64 import b64encode
from pathlib import Path
from random import Random
from time import perf_counter

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

sys.path.insert(0, str(Path(__file__).parent.parent))
from artcafe_proto import KeyRefusedError, PublicKey
from artcafe_proto.limits import MAX_KEYS_PER_AGENT, MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS
from artcafe_proto.policies.ssh_wire import pack_string
from support.platform_stage import AGENT, TENANT, Stage

RNG = Random(1)


def rsa_lines() -> list[str]:
    """The largest moduli and exponents that are allowed."""
    exponent = (1 << MAX_RSA_EXPONENT_BITS) - 1
    moduli = (RNG.getrandbits(MAX_RSA_BITS) | 1 << MAX_RSA_BITS - 1 | 1 for _ in range(MAX_KEYS_PER_AGENT))
    return [PublicKey(RSAPublicNumbers(exponent, n).public_key()).openssh for n in moduli]


def ecdsa_lines(curve: ec.EllipticCurve) -> list[str]:
    """Keys on one curve."""
    return [PublicKey(ec.generate_private_key(curve).public_key()).openssh for _ in range(MAX_KEYS_PER_AGENT)]


def armoured(size: int) -> bytes:
    """As much of an armoured signature as a response may hold."""
    text = b64encode(b"SSHSIG\0\0\0\1" + bytes(size))
    lines = b"\n".join(text[start : start + 70] for start in range(0, len(text), 70))
    return b"-----BEGIN SSH SIGNATURE-----\n" + lines + b"\n-----END SSH SIGNATURE-----\n"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=5)
    tries = parser.parse_args().tries
    rsa_body = RNG.randbytes(MAX_RSA_BITS // 8 - 1)
    der = encode_dss_signature(2**255, 2**255)
    large_der = encode_dss_signature(2**520, 2**520)
    rsa = pack_string(b"rsa-sha2-512") + pack_string(b"\0" + rsa_body)
    cases = {
        f"{MAX_RSA_BITS}-bit RSA, ssh": (rsa_lines(), rsa),
        f"{MAX_RSA_BITS}-bit RSA, raw": (rsa_lines(), b"\0" + rsa_body),
        "P-256, raw": (ecdsa_lines(ec.SECP256R1()), der),
        "P-384, raw": (ecdsa_lines(ec.SECP384R1()), der),
        "P-521, raw": (ecdsa_lines(ec.SECP521R1()), der),
        "P-384, raw, too large for the curve": (ecdsa_lines(ec.SECP384R1()), large_der),
        "P-521, armour of another key": (ecdsa_lines(ec.SECP521R1()), armoured(32_000)),
    }
    for name, (lines, response) in cases.items():
        stage = Stage()
        stage.register("costly")
        for line in lines:
            stage.hub.registry.add_key(TENANT, "costly", line, "")
        best = 1e9
        for _ in range(tries):
            for agent_id in ("costly", "agent-0", AGENT):
                challenge = stage.challenge(agent_id)
                begun = perf_counter()
                answer = stage.verify(challenge, agent_id=agent_id, response=b64encode(response).decode())
                took = perf_counter() - begun
                assert answer.status == 401
                if agent_id == "costly":
                    best = min(best, took)
        print(f"{1000 * best:8.2f} ms  {name}")


if __name__ == "__main__":
    try:
        main()
    except KeyRefusedError as error:
        sys.exit(str(error))
