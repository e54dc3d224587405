"""OpenSSH's own tools: a test that needs one and does not get it fails in CI; elsewhere it is skipped, loudly."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from artcafe_proto import PublicKey, SignatureFormat, SshAgentSigning

KINDS: Final = {
    "ed25519": ("ed25519", ""),
    "rsa2048": ("rsa", "2048"),
    "rsa3072": ("rsa", "3072"),
    "ecdsa256": ("ecdsa", "256"),
    "ecdsa384": ("ecdsa", "384"),
    "ecdsa521": ("ecdsa", "521"),
}
"""The key types of AUTH-5, as ssh-keygen is asked for them."""


def need(*tools: str) -> None:
    """Fail or skip unless these programs are there."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        text = f"{', '.join(missing)} missing: apt-get install openssh-client"
        if os.environ.get("CI") == "true":
            pytest.fail(text)
        pytest.skip(text)


def run(*command: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a tool that must succeed."""
    return subprocess.run(
        command, input=stdin, capture_output=True, check=True, timeout=60, env={**os.environ, **environment}
    )


def make_key(folder: Path, kind: str, passphrase: str = "") -> Path:
    """A key of `KINDS`, and its `.pub`."""
    name, bits = KINDS[kind]
    path = folder / kind
    run("ssh-keygen", "-q", "-t", name, *(("-b", bits) if bits else ()), "-N", passphrase, "-C", "a key", "-f", path)
    return path


@contextmanager
def ssh_agent(folder: Path) -> Generator[str]:
    """The socket of an ssh-agent that holds nothing."""
    path = folder / "ssh-agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not path.exists():
            assert process.poll() is None
        yield str(path)
    finally:
        process.terminate()
        process.wait()


def signed_by_agent(path: str, public: PublicKey, message: bytes, signature_format: SignatureFormat) -> bytes:
    """The signature by the ssh-agent at a socket."""
    signing = SshAgentSigning(public, message, signature_format)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        to_send = signing.request
        while signing.signature is None:
            connection.sendall(to_send)
            to_send = signing.receive_data(connection.recv(65_536))
    return signing.signature
