"""The commands of the command line, and those without a home elsewhere: plan, info, data."""
