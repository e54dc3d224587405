"""The platform's role: the hub that spans connections, a session for each of them, and its façade of bytes and time."""
