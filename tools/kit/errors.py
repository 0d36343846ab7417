"""What a person has to act upon."""


class KitError(Exception):
    """A kit cannot be made or opened; the text says why, and the way out. It holds no secret."""
