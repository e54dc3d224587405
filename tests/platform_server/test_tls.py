"""TLS of a platform: what it shows, what it refuses to speak, and what is said of files that do not fit."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSAttribute, TLSStream

from artcafe_platform import Platform, make_server_context
from artcafe_proto import ConfigError, PlatformConfig
from support.certificates import issue

AUTHORITY = issue(common_name="The Authority", is_authority=True)
INTERMEDIATE = issue(common_name="Half Way", is_authority=True, by=AUTHORITY)
ISSUED = issue("localhost", by=INTERMEDIATE, chain=(INTERMEDIATE,))
TOKEN = "a-long-random-password"
CONFIG = PlatformConfig(close_timeout=0.1)
LAX = "ALL:@SECLEVEL=0"


def lax(context: ssl.SSLContext) -> ssl.SSLContext:
    """As a machine's OpenSSL can be told to be."""
    context.set_ciphers(LAX)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    return context


async def version_of(platform: Platform, client: ssl.SSLContext) -> str:
    """The TLS that the platform speaks with this client. Raises as the handshake does."""
    port = int(platform.url.rpartition(":")[2])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        secured = await TLSStream.wrap(stream, hostname="localhost", ssl_context=client, standard_compatible=False)
        return secured.extra(TLSAttribute.tls_version)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_the_certificate_is_shown_with_its_chain_and_nothing_older_than_tls_1_2_is_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ssl.SSLContext.__new__

    def laxer(kind: type[ssl.SSLContext], protocol: int) -> ssl.SSLContext:
        return lax(usual(kind, protocol))

    trust = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    cert_file, key_file = ISSUED.write(tmp_path, "server")
    with monkeypatch.context() as machine:
        machine.setattr(ssl.SSLContext, "__new__", staticmethod(laxer))
        context = make_server_context(str(cert_file), str(key_file))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    async with Platform(tenants={"tenant-1": TOKEN}, ssl_context=context, config=CONFIG) as platform:
        assert platform.url.startswith("https://")
        assert await version_of(platform, trust) == "TLSv1.3"
        trust.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await version_of(platform, trust) == "TLSv1.2"
        lax(trust).maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream)):
            await version_of(platform, trust)


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2], ids=lambda version: version.name)
async def test_a_context_of_ones_own_answers_nothing_in_an_older_tls(version: ssl.TLSVersion, tmp_path: Path) -> None:
    own = lax(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    own.load_cert_chain(*ISSUED.write(tmp_path, "server"))
    trust = lax(ssl.create_default_context(cadata=AUTHORITY.pem.decode()))
    trust.maximum_version = version
    answer = b""
    async with Platform(tenants={"tenant-1": TOKEN}, ssl_context=own, config=CONFIG) as platform:
        stream = await anyio.connect_tcp("127.0.0.1", int(platform.url.rpartition(":")[2]))
        async with stream:
            secured = await TLSStream.wrap(stream, hostname="localhost", ssl_context=trust, standard_compatible=False)
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await secured.send(b"GET /api/v1/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = await secured.receive()
    assert answer[:12] == (b"" if version == ssl.TLSVersion.TLSv1_1 else b"HTTP/1.1 401")


def refusal(*files: Path) -> tuple[str | None, str]:
    """The setting that is refused, and why."""
    with pytest.raises(ConfigError) as caught:
        make_server_context(*map(str, files))
    return caught.value.setting, caught.value.problem


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    cert_file, key_file = ISSUED.write(tmp_path, "server")
    make_server_context(str(cert_file), str(key_file))
    missing, fifo, text = (tmp_path / name for name in ("missing", "fifo", "text"))
    os.mkfifo(fifo)
    text.touch(mode=0o600)
    assert refusal(missing, key_file) == ("cert_file", f"{missing} cannot be read: No such file or directory")
    assert refusal(cert_file, missing) == ("key_file", f"{missing} cannot be read: No such file or directory")
    assert refusal(fifo, key_file) == ("cert_file", f"{fifo} is no regular file")
    assert refusal(cert_file, fifo) == ("key_file", f"{fifo} is no regular file")
    assert refusal(text) == ("cert_file", f"{text} holds no certificate in PEM with its key in it")
    assert refusal(cert_file, text) == (
        "cert_file",
        f"{cert_file} holds no certificate in PEM with its key in {text}",
    )
    other = issue(by=AUTHORITY).write(tmp_path, "other")[1]
    assert refusal(cert_file, other) == ("key_file", f"{other} is not the key of the certificate in {cert_file}")
    locked = ISSUED.write(tmp_path, "locked", b"secret")[1]
    assert refusal(cert_file, locked) == (
        "key_file",
        f"{locked} holds an encrypted key: give one that openssl pkey has decrypted",
    )


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602])
def test_auth_5_a_key_that_is_open_to_others(mode: int, tmp_path: Path) -> None:
    cert_file, key_file = ISSUED.write(tmp_path, "server")
    key_file.chmod(mode)
    assert refusal(cert_file, key_file) == (
        "key_file",
        f"{key_file} is open to others (mode {mode:04o}): chmod 600 {key_file}",
    )


def test_a_key_in_the_file_of_its_certificate(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(ISSUED.pem + ISSUED.key_pem())
    make_server_context(str(both))
    both.chmod(0o644)
    assert refusal(both) == ("cert_file", f"{both} is open to others (mode 0644): chmod 600 {both}")
