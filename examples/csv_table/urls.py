"""A table is uploaded; each of its columns is a job, whose line of the page fills as it ends.

Start: `python manage.py migrate && python manage.py runserver`.
"""

import csv
import io

from django.http import HttpResponseBadRequest
from django.shortcuts import render
from django.urls import include, path
from tasks import combine, summarise

from django_worker import send_map

CELLS_A_PIECE = 5000
MOST_COLUMNS = 50


def form(request):
    return render(request, "form.html")


def analyse(request):
    try:
        text = request.FILES["table"].read().decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text)))
    except (KeyError, UnicodeDecodeError, csv.Error):
        return HttpResponseBadRequest("send a CSV file in UTF-8")
    if not rows[1:] or len(rows[0]) > MOST_COLUMNS:
        return HttpResponseBadRequest(f"send a head, at least one row, and at most {MOST_COLUMNS} columns")
    head, body = rows[0], rows[1:]
    columns = [
        (name, send_column([row[place] if place < len(row) else "" for row in body])) for place, name in enumerate(head)
    ]
    return render(request, "table.html", {"columns": columns, "rows": len(body)})


def send_column(cells):
    """One job for a column: its pieces on every core, then what they come to."""
    pieces = [cells[start : start + CELLS_A_PIECE] for start in range(0, len(cells), CELLS_A_PIECE)]
    return send_map(summarise, pieces, reduce=combine, parts=len(pieces))


urlpatterns = [
    path("", form),
    path("analyse", analyse),
    path("worker/", include("django_worker.urls")),
]
