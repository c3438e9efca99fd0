"""Trained decoders: heads on frozen or trained features, fitted by the loop of `train` and scored as retrieval is."""
