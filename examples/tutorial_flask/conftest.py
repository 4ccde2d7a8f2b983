import os

# Before the application reads its settings.
os.environ["FLASK_WORKER_MODE"] = "immediate"
