"""Attention strategies: which frames see which in temporal self-attention."""
