"""What the protocol expects of every transport, as a check that any transport can be put to: `check_channel`."""
