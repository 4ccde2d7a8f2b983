"""The routes: ours under a prefix of your choice, and two views."""

import views
from django.urls import include, path

urlpatterns = [
    path("worker/", include("django_worker.urls")),
    path("length", views.length),
    path("lengths", views.lengths),
]
