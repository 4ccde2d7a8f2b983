"""The article's `SendRequest`: the request that a handler answers, made of a job's context.

It belongs to the example. In a program of your own, use the context itself.
"""

from types import SimpleNamespace


class Server:
    """What the article calls the server: it has the request, and a way to answer."""

    def __init__(self, context, text):
        self.request = SimpleNamespace(text=text)
        self._context = context

    def send(self, answer):
        """Send an answer; it is kept with the job, and the browser that follows the job shows it."""
        self._context.send(answer)


class SendRequest:
    """`SendRequest(context, text)`: a request with its server."""

    def __init__(self, context, text):
        self.server = Server(context, text)
