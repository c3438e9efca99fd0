"""What a run leaves on disk: checkpoints, logs, curves; and locks and guards for its folder."""
