"""Machines: how they join, how arrays lie on them, what they can do at their peak."""
