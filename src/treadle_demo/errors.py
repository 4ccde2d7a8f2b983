"""What ends the demo with one sentence."""


class DemoError(Exception):
    """Raised when the demo cannot go on, or when what it claims did not hold."""
