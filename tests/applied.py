"""What the tests of ``longtake.apply`` have in common."""

SMALL = {"height": 24, "width": 32}
# Latents end at about 1, but begin at 700, where neighbours in float32 are 6e-5 apart.
TOLERANCE = {"atol": 5e-4, "rtol": 0}
# Frames as trained, so that the stock pipeline is the oracle, but through the engine, because strategies are named.
ENGINE = {"positional": "linear", "attention": "freenoise"}
