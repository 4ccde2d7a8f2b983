"""The pages of the site."""

from django.http import JsonResponse
from django.shortcuts import render

from django_worker import pool, send_function, send_map

from .tasks import add_up, count_file, count_words


def form(request):
    return render(request, "words/form.html")


def count(request):
    job = send_function(count_words, request.POST["text"])
    return render(request, "words/job.html", {"job": job})


def count_files(request):
    texts = [file.read().decode() for file in request.FILES.getlist("files")]
    job = send_map(count_file, texts, reduce=add_up)
    return render(request, "words/job.html", {"job": job})


def lengths(request):
    return JsonResponse({"lengths": list(pool.map(len, request.GET.getlist("text")))})
