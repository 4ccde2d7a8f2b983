"""To be included: `path("worker/", include("django_worker.urls"))`."""

from django.urls import path

from django_worker import views

app_name = "django_worker"

urlpatterns = [
    path("jobs/<str:token>", views.status, name="status"),
    path("jobs/<str:token>/result", views.result, name="result"),
]
