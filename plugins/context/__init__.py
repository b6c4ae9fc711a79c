"""Context strategies: whether the UNet sees the whole video, or windows of it whose predictions are fused."""
