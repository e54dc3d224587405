"""The secrets of a platform on disk: modes, refusals, and what a race or a crash may leave."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest

from artcafe_platform import data_dir, load_or_create_secret
from artcafe_platform.data_dir import load_secrets
from artcafe_proto import ConfigError


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """With a umask that takes nothing away, modes are right by themselves or not at all."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "some" / "where"
    made = load_secrets(directory)
    assert load_secrets(directory) == made
    assert len(made.tenant_token) >= 32
    assert len(made.signing_seed) == 32
    assert made.tenant_token not in repr(made)
    assert mode(directory) == 0o700
    assert {path.name: mode(path) for path in directory.iterdir()} == {"tenant-token": 0o600, "signing-key": 0o600}
    assert load_secrets(tmp_path / "elsewhere") != made


def test_a_token_edited_by_hand_may_end_with_a_newline(tmp_path: Path) -> None:
    load_secrets(tmp_path / "data")
    (tmp_path / "data" / "tenant-token").write_text("a-token-of-my-own-0123\n")
    assert load_secrets(tmp_path / "data").tenant_token == "a-token-of-my-own-0123"


def as_group_readable(path: Path) -> None:
    path.chmod(0o640)


def as_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def as_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir(0o700)


def as_empty(path: Path) -> None:
    path.write_bytes(b"")


def as_large(path: Path) -> None:
    path.write_bytes(b"x" * 5000)


def as_binary(path: Path) -> None:
    path.write_bytes(b"\xff" * 32)


@pytest.mark.parametrize("name", ["tenant-token", "signing-key"])
@pytest.mark.parametrize(
    "spoil",
    [as_group_readable, as_link, as_dangling_link, as_fifo, as_directory, as_empty, as_large, as_binary],
)
def test_a_spoilt_secret_is_refused_and_left_alone(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    load_secrets(tmp_path / "data")
    path = tmp_path / "data" / name
    spoil(path)
    before = path.lstat()
    with pytest.raises(ConfigError) as refused:
        load_secrets(tmp_path / "data")
    assert str(tmp_path / "data") in str(refused.value)
    assert path.lstat().st_ino == before.st_ino


def test_a_short_signing_key_is_refused(tmp_path: Path) -> None:
    load_secrets(tmp_path / "data")
    (tmp_path / "data" / "signing-key").write_text("00" * 31)
    with pytest.raises(ConfigError, match="signing-key must hold 64 hexadecimal digits"):
        load_secrets(tmp_path / "data")


def test_a_directory_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(0o777)
    with pytest.raises(ConfigError, match="writable by nobody else"):
        load_secrets(tmp_path / "data")


def test_a_file_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="cannot be used as a directory"):
        load_secrets(tmp_path / "data")


def test_of_many_at_once_one_makes_the_secret_and_all_have_it(tmp_path: Path) -> None:
    at_once = Barrier(8)
    numbers = count()

    def make() -> bytes:
        at_once.wait(10)  # all have seen that there is none
        return b"secret %d" % next(numbers)

    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load_or_create_secret, tmp_path / "s", make) for _ in range(8)]
        secrets = {each.result() for each in loads}
    assert len(secrets) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_crash_while_writing_leaves_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data_dir.os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left"):
        load_or_create_secret(tmp_path / "s", lambda: b"secret")
    assert list(tmp_path.iterdir()) == []
