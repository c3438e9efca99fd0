"""What a pretraining run leaves on disk: checkpoints, logs, curves, and who owns the folder."""
