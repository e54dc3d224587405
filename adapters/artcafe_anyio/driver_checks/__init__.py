"""`check_driver`: what is expected of every driver of an agent, as a check that any driver can be put to."""
