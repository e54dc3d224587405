"""Policies: the rules of the clauses, each a screen or two of pure code that can be read and tested by itself."""
