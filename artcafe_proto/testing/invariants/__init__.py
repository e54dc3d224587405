"""What must hold in every simulation, whatever goes wrong: each with a name and the clause it comes from.

They look from outside: at what the two sides write, say and wait for, not at how they do it. `observer.py` is told of
everything and tells the families: `links.py` what goes over connections, `waits.py` when attempts and renewals come,
`work.py` what becomes of commands, messages and calls, `platforms.py` what the platform does, `calls.py` what comes of
requests over HTTP, `stored.py` and `journals.py` what a platform and an agent have stored.
"""

from artcafe_proto.testing.invariants import observer, table, watched
from artcafe_proto.testing.invariants.observer import *
from artcafe_proto.testing.invariants.table import *
from artcafe_proto.testing.invariants.watched import *

__all__: list[str] = []
__all__ += observer.__all__
__all__ += table.__all__
__all__ += watched.__all__
