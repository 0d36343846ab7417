"""Mitogen's way through a play, found by its name wherever the package is installed: docs/decisions.md, who uses it."""

from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule

__all__ = ["StrategyModule"]
