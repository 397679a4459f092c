"""One frozen Settings, read once: defaults < modelkeep.toml < environment < flags."""

from modelkeep.settings.known import variables
from modelkeep.settings.reading import load
from modelkeep.settings.secrets import MASK, Secret
from modelkeep.settings.sections import ChannelSettings, Settings
from modelkeep.settings.showing import Shown, listing

__all__ = ["MASK", "ChannelSettings", "Secret", "Settings", "Shown", "listing", "load", "variables"]
