"""For authors of plugins: ``longtake plugin new`` writes a package that works, to be changed."""
