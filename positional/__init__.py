"""Positional strategies: where on the trained time line each frame of a long video stands."""
