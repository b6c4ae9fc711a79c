"""From latents to pictures, some frames at a time where that is needed."""
