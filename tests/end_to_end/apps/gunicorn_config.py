"""For `gunicorn -c python:…`: the embedded worker starts with the web process, not with its first request."""

from tests.end_to_end.apps.factory import worker

post_worker_init = worker.start_embedded
