"""The routes of the tests' Django site."""

import json

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
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


PAGE = """<!doctype html><html lang="{{ request.GET.lang }}"><title>A page</title><body>
{% load worker %}{% job_progress job cancel=True result=True id="it" %}<script src="/listen.js"></script></html>"""
LISTEN = """
window.heard = [];
document.addEventListener("job:message", ({ detail }) => heard.push(Date.now() / 1000 - detail.body));
"""
STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'"


def page(request: HttpRequest) -> HttpResponse:
    """Sends a job and follows it, by a policy that forbids all that is inline."""
    shown = Template(PAGE).render(RequestContext(request, {"job": send_function(tasks.tells_the_time, 8)}))
    return HttpResponse(shown, headers={"Content-Security-Policy": STRICT})


def listen(request: HttpRequest) -> HttpResponse:
    return HttpResponse(LISTEN, content_type="text/javascript")


urlpatterns = [
    path("page", page),
    path("listen.js", listen),
    path("favicon.ico", lambda request: HttpResponse(status=204)),
    path("admin/", admin.site.urls),
    path("worker/", include("django_worker.urls")),
    path("ping", ping),
    path("length", length),
    path("send/<str:name>", send),
]
