"""Sampling strategies: the whole video together, chunk by chunk, or again and again."""
