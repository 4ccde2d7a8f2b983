"""What runs elsewhere: the article's calculation, and the handler that answers a request."""

import sys
from pathlib import Path

from django_worker import task

sys.path.append(str(Path(__file__).resolve().parents[1]))
from send_request import SendRequest


@task
def calculate_string_length(data):
    return len(data)


@task(takes_context=True)
def handle_request(context, text):
    send_request = SendRequest(context, text)
    length = calculate_string_length.func(send_request.server.request.text)
    send_request.server.send(f"The length of {text!r} is {length}")
    return length
