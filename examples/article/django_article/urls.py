"""The routes and the views of the article's program."""

from pathlib import Path

from django.http import HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from tasks import handle_request

from django_worker import accepted, send_function
from django_worker.models import SendFunction

PAGE = Path(__file__).parent / "static" / "page.html"


def page(request):
    return HttpResponse(PAGE.read_text())


@csrf_exempt
@require_POST
def send(request):
    return accepted(request, send_function(handle_request, request.POST["text"]))


def lengths(request):
    """All lengths that were calculated so far, from the model of what was sent."""
    done = SendFunction.objects.filter(task="tasks.handle_request", state="succeeded")
    return JsonResponse({"lengths": [job.result for job in done]})


urlpatterns = [
    path("", page),
    path("send", send),
    path("lengths", lengths),
    path("worker/", include("django_worker.urls")),
]
