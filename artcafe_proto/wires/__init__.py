"""Wires: bytes to requests, responses and messages, and back.

They know no policy and no clock, and only they import h11 and wsproto.
"""
