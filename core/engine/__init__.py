"""SVD's UNet, run exactly and frugally: spatial work over chunks of frames, temporal work over chunks of pixels."""
