"""The agent's role: its machine, and the façade of bytes and time around it."""
