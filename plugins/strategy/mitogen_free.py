"""Mitogen's way through a play in which no host waits for another; see `mitogen_linear`."""

from ansible_mitogen.plugins.strategy.mitogen_free import StrategyModule

__all__ = ["StrategyModule"]
