"""Sources of images and labels, augmentation, and the resumable input pipeline."""
