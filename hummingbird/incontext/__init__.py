"""Scene understanding in context: a prompt that grows image by image and labels all others at once (Fig. 1)."""
