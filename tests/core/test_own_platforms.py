"""What a platform of one's own asks its hub."""

from __future__ import annotations

import pytest

from artcafe_proto import ApiError, HttpRequest, PlatformProtocol
from support.platform_api import NOW, Api


def test_plat_8_a_platform_of_its_own_limits_wrong_tokens_by_the_address_of_the_connection() -> None:
    hub = Api().hub
    headers = (("authorization", "Bearer not-the-token-of-anybody"),)
    request = HttpRequest(method="GET", target="/mine", headers=headers)
    refused: list[int] = []
    for conn in range(101):  # from as many addresses of one /64
        protocol = PlatformProtocol(hub, conn=conn, now=NOW, address=f"2001:db8::{conn:x}")
        with pytest.raises(ApiError) as error:
            hub.principal(request, NOW, protocol.address)
        refused.append(error.value.status)
    assert refused == [401] * 100 + [429]
