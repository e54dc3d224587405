"""Key files: what is refused, and what the author is told to do (AUTH-5)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from artcafe_anyio.keys import is_locked, load_key, passphrase_in
from artcafe_proto import ConfigError


def test_a_key_loads_by_its_path_and_through_a_link(
    key_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_key(str(key_path)).public.algorithm == "ssh-ed25519"
    link = tmp_path / "link"
    link.symlink_to(key_path)
    assert load_key(str(link)).public.openssh == load_key(str(key_path)).public.openssh
    monkeypatch.setenv("HOME", str(tmp_path))
    load_key("~/agent_key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_access_for_others(key_path: Path, mode: int) -> None:
    key_path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600 .*agent_key"):
        load_key(str(key_path))


def test_auth_5_what_to_do_about_a_file_that_nobody_here_can_change(
    key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.statvfs(key_path)
    read_only = os.statvfs_result((*status[:8], status.f_flag | os.ST_RDONLY, *status[9:]))

    def statvfs(path: str) -> os.statvfs_result:
        return read_only

    monkeypatch.setattr(os, "statvfs", statvfs)
    key_path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"open to others \(mode 0644\): it is mounted read-only, .*mode 0400"):
        load_key(str(key_path))


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_access_for_its_owner(key_path: Path, mode: int) -> None:
    key_path.chmod(mode)
    load_key(str(key_path))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(ConfigError, match="is no regular file"):
        load_key(str(tmp_path / "fifo"))
    with pytest.raises(ConfigError, match="is a directory"):
        load_key(str(tmp_path))
    with pytest.raises(ConfigError, match="is no regular file"):
        load_key("/dev/zero")


def test_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"artcafe keygen '.*with space'"):
        load_key(str(tmp_path / "with space"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="key cannot be read: Not a directory"):
        load_key(str(tmp_path / "file" / "key"))


def test_what_is_no_key(key_path: Path) -> None:
    key_path.write_bytes(b"x" * 65_536)
    with pytest.raises(ConfigError, match=r"agent_key: expected a private key file"):
        load_key(str(key_path))
    key_path.write_bytes(b"x" * 65_537)
    with pytest.raises(ConfigError, match="agent_key is larger than 65536 bytes"):
        load_key(str(key_path))


def test_a_file_that_only_claims_to_be_small() -> None:
    with pytest.raises(ConfigError):  # files of /proc have no size
        load_key("/proc/self/maps")


def test_no_descriptor_stays_open(key_path: Path, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        load_key(str(key_path))
        with pytest.raises(ConfigError):
            load_key(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A key file of ssh-keygen whose passphrase is SECRET."""
    path = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", SECRET, "-f", str(path)], check=True)
    return path


SECRET = "correct h\u00f6rse"


def test_auth_5_a_passphrase_comes_from_a_callback_that_is_told_the_path(locked: Path, key_path: Path) -> None:
    asked: list[str] = []

    def passphrase(path: str) -> str:
        asked.append(path)
        return SECRET

    load_key(str(locked), passphrase)
    load_key(str(locked), lambda _: SECRET.encode())
    load_key(str(key_path), passphrase)
    assert asked == [str(locked)]
    with pytest.raises(ConfigError, match="locked: the passphrase is wrong, or the key file is damaged"):
        load_key(str(locked), lambda _: "wrong")
    with pytest.raises(ConfigError, match="locked: the key is encrypted: give its passphrase"):
        load_key(str(locked))
    assert (is_locked(str(locked)), is_locked(str(key_path))) == (True, False)
    locked.write_text("no key")
    assert not is_locked(str(locked))


@pytest.mark.parametrize("text", ["{}", "{}\n", "{}\r\n", "\ufeff{}\n", "{}\nanother line\n"])
def test_auth_5_a_passphrase_is_the_first_line_of_its_file(locked: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(text.format(SECRET).encode())
    file.chmod(0o600)
    load_key(str(locked), passphrase_in(str(file)))


def test_auth_5_a_passphrases_file_is_kept_as_safe_as_a_key(locked: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    with pytest.raises(ConfigError, match=r"^key_passphrase_file .*passphrase is not there$"):
        load_key(str(locked), passphrase_in(str(file)))
    file.write_text(SECRET)
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=r"^key_passphrase_file .*open to others \(mode 0640\): chmod 600") as refused:
        load_key(str(locked), passphrase_in(str(file)))
    assert SECRET not in str(refused.value)
