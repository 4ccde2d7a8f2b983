"""Reads server-sent events as the standard says, strictly."""

import json
from typing import Any, NamedTuple


class Event(NamedTuple):
    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry: int | None = None

    def json(self) -> Any:
        return json.loads(self.data or "null")


def parsed(body: bytes) -> list[Event]:
    """The events of a body that ends with one; comments are left out."""
    text = body.decode()
    assert text.endswith("\n\n")
    return [event_of(block) for block in text[:-2].split("\n\n") if not block.startswith(":")]


def event_of(block: str) -> Event:
    fields = [line.partition(":") for line in block.split("\n")]
    assert {name for name, _, _ in fields} <= {"event", "data", "id", "retry"}
    values: dict[str, Any] = {name: value.removeprefix(" ") for name, _, value in fields}
    if "retry" in values:
        values["retry"] = int(values["retry"])
    return Event(**values)
