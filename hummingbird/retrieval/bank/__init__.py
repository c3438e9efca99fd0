"""The memory bank: which patches are kept, what they say, and how it lies in memory and on disk."""
