"""Everything built in, registered through the same hooks as anybody's plugin."""
