"""A small model of SVD's architecture, the world it was taught, and the training that makes it."""
