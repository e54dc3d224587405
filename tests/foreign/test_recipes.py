"""The recipes of docs/drivers.md, as printed, with the driver for asyncio."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artcafe_anyio.testing import check_driver
from artcafe_proto import AgentConfig
from artcafe_proto.effects import Sign
from foreign.test_drivers import ROOT, program
from support.drivers import Handle, Signer
from support.printed import OnAsyncio

PAGE = (ROOT / "docs" / "drivers.md").read_text()


def check(recipe: str, make: Callable[[dict[str, Any]], Any], *rules: str) -> None:
    """The driver that `make` finds among the names of the recipe, which has been run in the event loop."""
    found = re.search(rf"<!-- recipe: {recipe} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    text = found[1]

    def under_test(config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> OnAsyncio:
        def sign_challenge(asked: Sign) -> bytes:
            return sign(asked.challenge.encode())

        def on_loop() -> Any:
            names: dict[str, Any] = {"config": config, "sign": sign_challenge, "handle": handle}
            code = f"{program('asyncio')}\n{text.replace('ca.pem', str(ca_file))}"
            exec(compile(code, recipe, "exec"), names)
            return make(names)

        return OnAsyncio(on_loop)

    check_driver(under_test, only=rules)


def test_a_context_says_whom_a_driver_trusts_and_the_lowest_version() -> None:
    def driver(names: dict[str, Any]) -> Any:
        assert names["tls"].minimum_version is ssl.TLSVersion.TLSv1_3
        return names["driver"]

    check("TLS", driver, "TLS is used where it is asked for", "certificates are verified")


def test_a_signature_may_come_from_a_thread() -> None:
    def driver(names: dict[str, Any]) -> Any:
        return names["PatientDriver"](names["config"], names["sign"], names["handle"])

    check("signing in a thread", driver, "a signer may be slow", "a signer that fails is told")
