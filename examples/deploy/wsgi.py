"""What mod_wsgi loads: the `app` of the site, under the name that it looks for."""

import os

# Before the site reads its settings. A process of Apache is no good place for a worker.
os.environ.setdefault("FLASK_WORKER_EMBEDDED", "never")

from app import app as application  # noqa: F401
