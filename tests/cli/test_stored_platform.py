"""`artcafe platform --data DIR` as its operator meets it: another one at work, a damaged file, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.test_cli import ARTCAFE, TOKEN, environment, run


@contextmanager
def serving(data_dir: Path) -> Generator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A platform process that stores in a directory, and a tenant's environment for it."""
    process = subprocess.Popen(
        [ARTCAFE, "platform", "--port", "0", "--data", data_dir],
        env=environment(ARTCAFE_TENANT_TOKEN=TOKEN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready: dict[str, Any] = json.loads(process.stdout.readline())
        yield process, {"ARTCAFE_TENANT_TOKEN": TOKEN, "ARTCAFE_PLATFORM": ready["url"]}
    finally:
        process.kill()
        process.communicate()


def test_what_was_registered_outlives_a_kill(tmp_path: Path) -> None:
    key = tmp_path / "key"
    assert run("keygen", str(key)).returncode == 0
    with serving(tmp_path / "data") as (process, tenant):
        assert run("register", "--agent-id", "agent-1", "--public-key", f"{key}.pub", **tenant).returncode == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(tmp_path / "data") as (process, tenant):
        assert "agent-1" in run("agents", **tenant).stdout


def test_a_second_platform_says_who_has_the_directory(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, _):
        second = run("platform", "--port", "0", "--data", str(tmp_path))
        assert (second.returncode, second.stdout) == (1, "")
        said = f"artcafe: {tmp_path}/records.db is in use by process {process.pid} on "
        assert second.stderr.startswith(said)
        assert second.stderr.endswith(": stop that first, or use another path\n")


def test_a_damaged_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    path = tmp_path / "records.db"
    path.write_bytes(path.read_bytes().replace(b'"tenant-1"', b'"tenant-2"'))
    refused = run("platform", "--port", "0", "--data", str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"{path} is damaged (record 1 of kind 2" in refused.stderr
    assert "put a backup in its place" in refused.stderr


def test_a_platform_that_ends_while_its_disk_is_full_says_what_is_not_stored(small_disk: Path) -> None:
    with serving(small_disk) as (process, tenant):
        room = os.statvfs(small_disk)
        (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
        key = small_disk.parent / "key"
        run("keygen", str(key))
        refused = run("register", "--agent-id", "agent-1", "--public-key", f"{key}.pub", **tenant)
        assert refused.returncode == 1
        assert "may_be_accepted" in refused.stderr or "the store is slow" in refused.stderr
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    lines = err.splitlines()
    assert "did not take everything in 5 s, and the platform ended without storing 1 of its records" in lines[-1]
    assert sum("cannot store, trying again" in line for line in lines) == 1
