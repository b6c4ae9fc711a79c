"""What a generation takes of a machine, and what that has."""
