"""Devices: how processes join, how arrays are placed, published peaks, and what compiled programs cost."""
