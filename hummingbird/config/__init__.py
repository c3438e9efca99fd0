"""Every setting, declared once with its default, meaning and range; and how a config file becomes a config."""

from hummingbird.config.schema import Setting, load_file
from hummingbird.config.settings import EVALUATE, PRETRAIN, declared, freeze, of_run, resolve, to_flat

__all__ = ["EVALUATE", "PRETRAIN", "Setting", "declared", "freeze", "load_file", "of_run", "resolve", "to_flat"]
