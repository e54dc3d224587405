"""AUTH-3, AUTH-5, AUTH-6: ssh-keygen, ssh-agent and ssh-add make and take what we take and make, for each key type."""

from __future__ import annotations

import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, get_args

import pytest

from artcafe_proto import KeyRefusedError, PublicKey, SignatureFormat, SigningKey
from artcafe_proto.policies.ssh_wire import take_string
from support.openssh import KINDS, make_key, need, run, signed_by_agent, ssh_agent

MESSAGE: Final = b"ac1.a-challenge"
NAMESPACE: Final = "artcafe-auth"
PASSPHRASE: Final = "correct horse"
FORMATS: tuple[SignatureFormat, ...] = get_args(SignatureFormat)
CONTAINERS: Final = {"OpenSSH": (), "PEM": ("-m", "PEM"), "PKCS8": ("-m", "PKCS8")}
MANGLINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "as it is": lambda data: data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "a byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "no final newline": lambda data: data.rstrip(b"\n"),
    "all of it": lambda data: b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n").rstrip(),
    "blank lines around it": lambda data: b"\n\n" + data + b"\n\n",
}


@pytest.fixture(scope="session")
def openssh_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key of each kind."""
    need("ssh-keygen")
    folder = tmp_path_factory.mktemp("openssh")
    for kind in KINDS:
        make_key(folder, kind)
    return folder


@pytest.fixture(scope="session")
def agent_socket(openssh_keys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An ssh-agent that holds all of them."""
    need("ssh-agent", "ssh-add")
    with ssh_agent(tmp_path_factory.mktemp("agent")) as path:
        for kind in KINDS:
            run("ssh-add", "-q", openssh_keys / kind, SSH_AUTH_SOCK=path)
        yield path


def public(folder: Path, kind: str) -> PublicKey:
    return PublicKey.parse((folder / f"{kind}.pub").read_text())


def ssh_keygen_verifies(folder: Path, key: PublicKey, signature: bytes, namespace: str, message: bytes) -> bool:
    (folder / "signature").write_bytes(signature)
    (folder / "signers").write_text(f"agent-1 {key.openssh}\n")
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "agent-1", "-n", namespace, "-s", "signature"]
    return subprocess.run(command, cwd=folder, input=message, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_auth_3_ssh_keygen_takes_our_sshsig_and_nothing_else(openssh_keys: Path, tmp_path: Path, kind: str) -> None:
    key = SigningKey.load((openssh_keys / kind).read_bytes())
    signature = key.sign(MESSAGE, "sshsig")
    assert ssh_keygen_verifies(tmp_path, key.public, signature, NAMESPACE, MESSAGE)
    assert not ssh_keygen_verifies(tmp_path, key.public, signature, NAMESPACE, MESSAGE + b"x")
    assert not ssh_keygen_verifies(tmp_path, key.public, signature, "file", MESSAGE)
    other = public(openssh_keys, "rsa2048" if kind == "ed25519" else "ed25519")
    assert not ssh_keygen_verifies(tmp_path, other, signature, NAMESPACE, MESSAGE)


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", KINDS)
def test_auth_3_we_take_what_ssh_keygen_signs_for_us_and_nothing_else(
    openssh_keys: Path, kind: str, hash_name: str
) -> None:
    key = public(openssh_keys, kind)
    command = ("ssh-keygen", "-q", "-Y", "sign", "-f", openssh_keys / kind, "-O", f"hashalg={hash_name}", "-n")
    signature = run(*command, NAMESPACE, stdin=MESSAGE).stdout
    algorithm = "rsa-sha2-512" if kind.startswith("rsa") else key.algorithm
    without_armour = b64decode(b"".join(signature.split(b"\n")[1:-2]))
    for spelling in (signature, signature.replace(b"\n", b"\r\n"), without_armour):
        assert key.verify(spelling, MESSAGE) == algorithm
    assert key.verify(signature, MESSAGE + b"x") is None
    assert key.verify(run(*command, "git", stdin=MESSAGE).stdout, MESSAGE) is None
    assert [other for other in KINDS if public(openssh_keys, other).verify(signature, MESSAGE)] == [kind]


@pytest.mark.parametrize("signature_format", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_auth_6_an_ssh_agent_signs_in_every_format(
    openssh_keys: Path, agent_socket: str, kind: str, signature_format: SignatureFormat
) -> None:
    key = public(openssh_keys, kind)
    signature = signed_by_agent(agent_socket, key, MESSAGE, signature_format)
    expected = key.algorithm
    if kind.startswith("rsa"):
        expected = "rsa-sha2-256" if signature_format == "raw" else "rsa-sha2-512"
    assert key.verify(signature, MESSAGE) == expected
    assert key.verify(signature, MESSAGE + b"x") is None
    if signature_format == "ssh":
        assert take_string(signature)[0].decode() == expected
    if kind == "ed25519" or kind.startswith("rsa"):  # whose signatures are the same each time
        own = SigningKey.load((openssh_keys / kind).read_bytes())
        assert signature == own.sign(MESSAGE, signature_format)


@pytest.mark.parametrize("kind", KINDS)
def test_auth_6_ssh_keygen_signs_by_the_agent_and_takes_what_we_have_it_sign(
    openssh_keys: Path, agent_socket: str, tmp_path: Path, kind: str
) -> None:
    shutil.copy(openssh_keys / f"{kind}.pub", tmp_path / "key.pub")
    command = ("ssh-keygen", "-q", "-Y", "sign", "-f", tmp_path / "key.pub", "-n", NAMESPACE)
    key = public(openssh_keys, kind)
    assert key.verify(run(*command, stdin=MESSAGE, SSH_AUTH_SOCK=agent_socket).stdout, MESSAGE) is not None
    signature = signed_by_agent(agent_socket, key, MESSAGE, "sshsig")
    assert ssh_keygen_verifies(tmp_path, key, signature, NAMESPACE, MESSAGE)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", KINDS)
def test_auth_5_a_file_of_ssh_keygen_is_loaded_whatever_editors_do_to_it(
    openssh_keys: Path, tmp_path: Path, kind: str, container: str, encrypted: bool
) -> None:
    if kind == "ed25519" and container != "OpenSSH":
        assert b"OPENSSH" in converted(openssh_keys, tmp_path, kind, container, encrypted), "it writes no other"
        return
    data = converted(openssh_keys, tmp_path, kind, container, encrypted)
    assert (b"OPENSSH PRIVATE KEY" in data) is (container == "OpenSSH")
    names = ["all of it"] if kind == "rsa3072" else [*MANGLINGS]  # which takes long to validate
    for name in names:
        mangle = MANGLINGS[name]
        key = SigningKey.load(mangle(data), PASSPHRASE.encode() if encrypted else None)
        assert key.public.openssh == public(openssh_keys, kind).openssh, name
        if encrypted:
            with pytest.raises(KeyRefusedError, match="is encrypted"):
                SigningKey.load(mangle(data))


def converted(folder: Path, into: Path, kind: str, container: str, encrypted: bool) -> bytes:
    """A key in another container, with a passphrase or without."""
    path = into / "key"
    shutil.copy(folder / kind, path)
    rounds = ("-a", "1") if container == "OpenSSH" and encrypted else ()
    passphrase = PASSPHRASE if encrypted else ""
    run("ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, *CONTAINERS[container], *rounds, "-f", path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_auth_5_a_public_key_file_is_read_whatever_editors_do_to_it(openssh_keys: Path, kind: str) -> None:
    line = (openssh_keys / f"{kind}.pub").read_text()
    fingerprint = run("ssh-keygen", "-l", "-f", openssh_keys / f"{kind}.pub").stdout.split()[1].decode()
    for each in (line, line.replace("\n", "\r\n"), line.strip(), f"\n{line}\n", line.rsplit(" ", 2)[0]):
        assert PublicKey.parse(each).fingerprint == fingerprint
