"""A test that does not end fails, and says where it was; what is marked thorough takes the time it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
HANGS: Final = "import threading\ndef test_that_hangs():\n    threading.Event().wait(60)\n"
LASTS: Final = "import time, pytest\n@pytest.mark.thorough\ndef test_that_lasts():\n    time.sleep(1.5)\n"


def run(source: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one test with this project's settings, but for the limit, which is 1 s."""
    (folder / "test_one.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    command += ["-p", "conftest", "-o", "faulthandler_timeout=1", *options, str(folder / "test_one.py")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "with xdist"])
def test_a_test_that_hangs_is_a_failure(options: tuple[str, ...], tmp_path: Path) -> None:
    done = run(HANGS, tmp_path, *options)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "in test_that_hangs" in done.stderr


def test_what_is_thorough_takes_the_time_it_needs(tmp_path: Path) -> None:
    done = run(LASTS, tmp_path, "-m", "thorough")
    assert done.returncode == pytest.ExitCode.OK, done.stdout


def test_the_limit_is_set(pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("faulthandler_timeout")) > 0
    assert pytestconfig.getini("faulthandler_exit_on_timeout")
