"""Recorded worlds: what they are stored as, how they are recorded, and what feeds them to the present code."""
