"""Proxies that the environment names. No connection here goes through one, and whoever wonders why is told."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.request import getproxies_environment, proxy_bypass

if TYPE_CHECKING:
    from artcafe_proto.config import Origin


def unused_proxy(*origins: Origin) -> str:
    """One line on the variable that names a proxy for one of these, unless NO_PROXY or loopback rules it out; "" if
    no variable does. Its value may hold a password and is not shown.
    """
    found = getproxies_environment()  # by names in lower case
    for origin in origins:
        schemes = ("https" if origin.tls else "http", "all")
        name = next((f"{scheme.upper()}_PROXY" for scheme in schemes if found.get(scheme)), "")
        if name and not origin.is_loopback and not proxy_bypass(f"{origin.host}:{origin.port}"):
            return f"{name} is set and not used: {origin.authority} is connected to directly"
    return ""
