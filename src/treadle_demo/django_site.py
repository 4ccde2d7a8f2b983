"""The demo as a Django site: what a user of Treadle writes is `@task` and the view `send`."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

from django_worker import accepted, send_map, task
from treadle_demo import analysis, views
from treadle_demo.analysis import Result


@task
def analyse(path: str) -> Result:
    return analysis.analyse(path)


@task
def combine(results: list[Result]) -> Result:
    return analysis.combine(results)


def send(request: HttpRequest) -> HttpResponse:
    try:
        files = views.wanted_files(request.method, request.content_type, request.body)
    except views.BadRequest as error:
        return HttpResponse(str(error), status=error.status)
    return accepted(request, send_map(analyse, files, reduce=combine))


def ping(request: HttpRequest) -> HttpResponse:
    return HttpResponse(views.ping())


def show_input(request: HttpRequest) -> HttpResponse:
    return JsonResponse(views.described_input("Django"))


def show_file(request: HttpRequest, name: str) -> HttpResponse:
    try:
        content, headers = views.static_file(name)
    except views.BadRequest as error:
        return HttpResponse(str(error), status=error.status)
    return HttpResponse(content, headers=headers)


urlpatterns = [
    path("", show_file, {"name": "page.html"}),
    path("static/<name>", show_file),
    path("analyses", send),
    path("ping", ping),
    path("input", show_input),
    path("worker/", include("django_worker.urls")),
]
