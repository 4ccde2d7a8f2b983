"""To be included: `path("worker/", include("django_worker.urls"))`."""

from django.urls import path

from django_worker import views

app_name = "django_worker"

urlpatterns = [
    path("jobs/<str:token>", views.status, name="status"),
    path("jobs/<str:token>/result", views.result, name="result"),
    path("jobs/<str:token>/cancel", views.cancel, name="cancel"),
    path("jobs/<str:token>/events", views.events, name="events"),
    path("events", views.all_events, name="all_events"),
    path("assets/<str:name>", views.asset, name="asset"),
]
