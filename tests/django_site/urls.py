"""The routes of the tests' Django site."""

import json

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from django_worker import accepted, send_function
from tests.django_site import tasks
from tests.django_site.tasks import string_length


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


@csrf_exempt
def length(request: HttpRequest) -> HttpResponse:
    return accepted(request, send_function(string_length, request.body.decode()))


@csrf_exempt
def send(request: HttpRequest, name: str) -> HttpResponse:
    """Send any task of the site, with the arguments in the body."""
    return accepted(request, send_function(getattr(tasks, name), *json.loads(request.body)))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("worker/", include("django_worker.urls")),
    path("ping", ping),
    path("length", length),
    path("send/<str:name>", send),
]
