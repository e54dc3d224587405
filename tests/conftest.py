"""What holds for all tests: how many examples of each property are tried, and how long a test may take.

Profiles of hypothesis: `quick`, the default, and `thorough`, which `.ci/run` takes, try the same examples in every run;
`long` is for running by hand and tries others each time. Choose by `HYPOTHESIS_PROFILE=long` or
`--hypothesis-profile=long`.

A test that takes 300 s hangs, and fails (`faulthandler_timeout` in `pyproject.toml`). What is marked `thorough`, and
properties of another profile than `quick`, may take longer.
"""

from __future__ import annotations

import faulthandler
import os

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest_plugins = ("support.small_disks",)

# No deadline and no look at how long the making of examples takes: how fast a machine is must not decide a test.
settings.register_profile(
    "quick",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[phase for phase in Phase if phase is not Phase.explain],  # it takes minutes for a machine
    max_examples=30,
    stateful_step_count=30,
)
_QUICK = settings.get_profile("quick")
settings.register_profile("thorough", _QUICK, max_examples=300, stateful_step_count=50)
settings.register_profile(
    "long", _QUICK, derandomize=False, print_blob=True, max_examples=20_000, stateful_step_count=100
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Lift the time limit, which pytest has set by now, from what may take minutes."""
    if item.get_closest_marker("thorough") or settings().max_examples > _QUICK.max_examples:
        faulthandler.cancel_dump_traceback_later()
