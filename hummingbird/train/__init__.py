"""Training: the loop that takes steps, and pretraining, which supplies them."""

from hummingbird.train.pretraining import Hook, check_labels, fill_bank, pretrain, warn_of_schedule
from hummingbird.train.program import Program, build_program, learning_rate_of, seconds_at_peak

__all__ = [
    "Hook",
    "Program",
    "build_program",
    "check_labels",
    "fill_bank",
    "learning_rate_of",
    "pretrain",
    "seconds_at_peak",
    "warn_of_schedule",
]
