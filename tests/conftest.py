"""Profiles of the suite's hypothesis tests: how many examples of each property, and whether they are the same each run.

`quick`, the default, and `thorough`, which `.ci/run` takes, try the same examples in every run; `long` is for running
by hand and tries others each time. Choose by `HYPOTHESIS_PROFILE=long` or `--hypothesis-profile=long`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

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
