"""Whom the context of an agent trusts, what it asks of TLS, and what is said of files that do not fit."""

from __future__ import annotations

import os
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from artcafe_anyio import Agent
from artcafe_anyio.tls import make_ssl_context
from artcafe_anyio.tls_failures import UntrustedError, explain
from artcafe_proto import ConfigError
from support.certificates import Issued, issue

AUTHORITY = issue(common_name="The Authority", is_authority=True)
HASH = "79ebc7d4"
"""Of the authority's name, as `openssl x509 -hash` says it."""
CLIENT = issue(by=AUTHORITY)
SETTING = "client_key_file"
HINT = ", and `pip install 'artcafe-proto[tls]'` has this system's own trust store used"


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(AUTHORITY.pem)
    return path


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)


def is_trusted(issued: Issued, context: ssl.SSLContext, folder: Path) -> bool:
    """Whether a handshake with a server that has this certificate for `localhost` succeeds."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(*issued.write(folder, "server"))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return False
    return client.version() is not None


def test_what_is_asked_of_tls(ca_file: Path) -> None:
    context = make_ssl_context(str(ca_file))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.hostname_checks_common_name
    assert len(context.get_ca_certs()) == 1


# --- authorities ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ca_file", "SSL_CERT_FILE"])
def test_a_file_that_holds_no_certificates(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusal(name: str) -> str:
        path = str(tmp_path / name)
        if how != "ca_file":
            monkeypatch.setenv(how, path)
        with pytest.raises(ConfigError) as caught:
            make_ssl_context(path if how == "ca_file" else None)
        assert caught.value.setting == how
        return str(caught.value).replace(path, "PATH")

    assert refusal("missing.pem") == f"{how} PATH cannot be read: No such file or directory"
    (tmp_path / "empty.pem").touch()
    assert refusal("empty.pem").startswith(f"{how} PATH is no PEM file of certificates: ")
    (tmp_path / "text.pem").write_text("no certificate")
    assert refusal("text.pem").startswith(f"{how} PATH is no PEM file of certificates: ")
    os.mkfifo(tmp_path / "fifo.pem")
    assert refusal("fifo.pem") == f"{how} PATH is no PEM file of certificates: it is no regular file"


def test_directories_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(ConfigError, match=r"^SSL_CERT_DIR names no directory: .*/a:.*/b$"):
        make_ssl_context()
    (tmp_path / "b").mkdir()
    make_ssl_context()


def test_ssl_cert_dir(ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "certs"
    directory.mkdir()
    (directory / f"{HASH}.0").symlink_to(ca_file)
    server = issue("localhost", by=AUTHORITY)
    assert not is_trusted(server, make_ssl_context(), tmp_path)
    monkeypatch.setenv("SSL_CERT_DIR", str(directory))
    assert is_trusted(server, make_ssl_context(), tmp_path)


def test_ca_file_is_the_only_one_that_is_trusted(
    ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    server = issue("localhost", by=AUTHORITY)
    other = tmp_path / "other.pem"
    other.write_bytes(issue(is_authority=True).pem)
    assert is_trusted(server, make_ssl_context(), tmp_path)
    assert not is_trusted(server, make_ssl_context(str(other)), tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert is_trusted(server, make_ssl_context("~/ca.pem"), tmp_path)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_the_system_keeps_its_own_store(
    platform: str, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked through truststore, unless something else is named, or truststore is not there."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ssl.SSLContext, "_load_windows_store_certs", lambda *_: None, raising=False)  # pyright: ignore

    def asks_the_system(ca_file: Path | None = None) -> bool:
        return type(make_ssl_context(None if ca_file is None else str(ca_file))).__module__.startswith("truststore")

    assert asks_the_system()
    assert not asks_the_system(ca_file)
    with monkeypatch.context() as named:
        named.setenv("SSL_CERT_FILE", str(ca_file))
        assert not asks_the_system()
    with monkeypatch.context() as named:
        named.setenv("SSL_CERT_DIR", str(tmp_path))
        assert not asks_the_system()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "truststore", None)
        assert not asks_the_system()
        assert HINT in explain(UntrustedError(20, "", []), "localhost")
    assert HINT not in explain(UntrustedError(20, "", []), "localhost")


def test_on_linux_openssl_knows_the_systems_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert type(make_ssl_context()) is ssl.SSLContext
    monkeypatch.setitem(sys.modules, "truststore", None)
    assert HINT not in explain(UntrustedError(20, "", []), "localhost")


# --- client certificates ----------------------------------------------------------------------------------------------


def refusal(cert_file: Path, key_file: Path | None, **more: Any) -> tuple[str | None, str]:
    """The setting that is refused, and why."""
    with pytest.raises(ConfigError) as caught:
        make_ssl_context(
            client_cert_file=str(cert_file), client_key_file=None if key_file is None else str(key_file), **more
        )
    return caught.value.setting, caught.value.problem


def test_a_key_in_the_file_of_its_certificate(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(CLIENT.pem + CLIENT.key_pem())
    make_ssl_context(client_cert_file=str(both))
    both.chmod(0o644)
    assert refusal(both, None) == ("client_cert_file", f"{both} is open to others (mode 0644): chmod 600 {both}")


def test_auth_5_a_client_key_is_kept_as_safe_as_the_other(tmp_path: Path) -> None:
    cert_file, key_file = CLIENT.write(tmp_path, "client")
    make_ssl_context(client_cert_file=str(cert_file), client_key_file=str(key_file))
    key_file.chmod(0o640)
    assert refusal(cert_file, key_file) == (SETTING, f"{key_file} is open to others (mode 0640): chmod 600 {key_file}")
    assert refusal(cert_file, tmp_path / "missing") == (SETTING, f"{tmp_path / 'missing'} is not there")


def test_what_is_no_client_certificate(tmp_path: Path) -> None:
    cert_file, key_file = CLIENT.write(tmp_path, "client")
    no_pem = "is no PEM file of certificates: "
    for name, text, why in (("missing", None, "cannot be read: "), ("key", CLIENT.key_pem(), no_pem)):
        path = tmp_path / name
        if text is not None:
            path.write_bytes(text)
        setting, problem = refusal(path, key_file)
        assert (setting, problem[: len(f"{path} {why}")]) == ("client_cert_file", f"{path} {why}")
    other = issue(by=AUTHORITY).write(tmp_path, "other")[1]
    assert refusal(cert_file, other) == (SETTING, f"{other} is not the key of the certificate {cert_file}")
    other.write_bytes(CLIENT.pem)
    assert refusal(cert_file, other)[1].startswith(f"{other} holds no PEM private key, or its passphrase is another")


def test_an_encrypted_client_key(tmp_path: Path) -> None:
    cert_file, key_file = CLIENT.write(tmp_path, "client", b"a passphrase")
    asked: list[str] = []

    def passphrase(path: str) -> str:
        asked.append(path)
        return "a passphrase"

    make_ssl_context(client_cert_file=str(cert_file), client_key_file=str(key_file), passphrase=passphrase)
    assert asked == [str(key_file)]
    why = "is encrypted: say its passphrase, by passphrase or key_passphrase_file"
    assert refusal(cert_file, key_file) == (SETTING, f"{key_file} {why}")
    for wrong in ("not that one", "x" * 2000):
        setting, problem = refusal(cert_file, key_file, passphrase=partial(str.format, wrong))
        assert (setting, wrong in problem) == (SETTING, False)
        assert problem.startswith(f"{key_file} holds no PEM private key, or its passphrase is another: ")
    for nothing in (lambda _: None, later):  # pyright: ignore[reportUnknownVariableType, reportUnknownLambdaType]
        setting, problem = refusal(cert_file, key_file, passphrase=nothing)
        assert setting == "passphrase"
        assert problem.startswith("must return str or bytes, and returned ")


async def later(path: str) -> str:
    return path


@pytest.mark.parametrize("value", ["by parameter", "by variable"])
def test_a_client_key_needs_its_certificate(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"client_key_file": "key.pem"}
    setting = "client_key_file"
    if value == "by variable":
        monkeypatch.setenv("ARTCAFE_CLIENT_KEY_FILE", given.popitem()[1])
        setting = "ARTCAFE_CLIENT_KEY_FILE"
    with pytest.raises(ConfigError, match=f"^{setting} has no effect without client_cert_file, its certificate$"):
        Agent.from_env(**given)
