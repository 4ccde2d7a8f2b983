"""The settings of the demo as a Django site."""

import os

import django

from treadle_demo import views

SECRET_KEY = os.environ["TREADLE_DEMO_SECRET"]
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "treadle_demo.django_site"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
INSTALLED_APPS = ["django_worker", *(["django_tasks"] if django.VERSION < (6, 0) else [])]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": views.folder() / views.STORE,
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
TASKS = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "QUEUES": [], "OPTIONS": {}}}
