"""The routes: those of the app, and ours under a prefix of your choice."""

from django.urls import include, path
from words import views

urlpatterns = [
    path("", views.form),
    path("count", views.count),
    path("count-files", views.count_files),
    path("lengths", views.lengths),
    path("worker/", include("django_worker.urls")),
]
