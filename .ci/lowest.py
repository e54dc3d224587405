"""Print pip constraints: the lowest version that pyproject.toml allows of what users depend on, extras included.

What only tests need is left to pip: how old it may be is a matter of the tests, not of users.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

BOUND = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)")
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

for requirement in (*PROJECT["dependencies"], *EXTRAS["cli"], *EXTRAS["passphrase"], *EXTRAS["tls"]):
    if requirement.startswith(PROJECT["name"]):
        continue  # another extra
    bound = BOUND.match(requirement)
    if bound is None:
        raise SystemExit(f"{requirement} has no lower bound: write it as name>=version")
    print(f"{bound[1]}=={bound[2]}")
