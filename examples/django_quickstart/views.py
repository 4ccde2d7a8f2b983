"""The rest of the twelve lines of the README for Django."""

from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt

from django_worker import accepted, pool, send_function, task


@task(max_attempts=3)
def string_length(text):
    return len(text)


@csrf_exempt
def length(request):
    job = send_function(string_length, request.POST["text"])
    return accepted(request, job)  # 202 and the link to the job


def lengths(request):
    return JsonResponse({"lengths": list(pool.map(len, request.GET.getlist("text")))})  # now, on every core
