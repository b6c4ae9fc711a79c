"""Search the options of strategies for what does best by a measure: ``longtake tune``."""
