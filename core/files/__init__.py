"""What is written: videos, pictures and records, which appear when they are whole."""
