"""Stores of records, for both roles: in memory and in a SQLite file; `Store` is what one of your own has."""

from artcafe_stores import errors, memory, protocol, sqlite
from artcafe_stores.errors import *
from artcafe_stores.memory import *
from artcafe_stores.protocol import *
from artcafe_stores.sqlite import *

__all__: list[str] = []
__all__ += errors.__all__
__all__ += memory.__all__
__all__ += protocol.__all__
__all__ += sqlite.__all__
