"""The bench: what longtake's engine takes beside diffusers' own ways, paired in one process."""
