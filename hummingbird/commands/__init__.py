"""Sub-commands without a home elsewhere: plan, info, data."""
