"""Fails when it is imported."""

raise ImportError("no module named 'riflex'")
