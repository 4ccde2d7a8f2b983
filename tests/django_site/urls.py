"""The routes of the tests' Django site."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt

from django_worker import accepted, send_function
from tests.django_site.tasks import string_length


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


@csrf_exempt
def length(request: HttpRequest) -> HttpResponse:
    return accepted(request, send_function(string_length, request.body.decode()))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("worker/", include("django_worker.urls")),
    path("ping", ping),
    path("length", length),
]
