"""The routes: ours for following jobs, and two ways to send a file."""

from django.urls import include, path
from importer import views

urlpatterns = [
    path("worker/", include("django_worker.urls")),
    path("imports", views.send_import),
    path("async/imports", views.asend_import),
    path("people", views.people),
    path("ping", views.ping),
]
