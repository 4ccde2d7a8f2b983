"""A module that is worth preloading: it takes long to fill."""

data = bytearray()


def fill() -> None:
    data.extend(bytes(200 << 20))
