"""A file comes in, and is answered at once with the link to its job; once for WSGI and once for ASGI."""

from django.conf import settings
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from django_worker import accepted, asend_function, send_function
from importer.models import Person, Upload
from importer.tasks import import_people


@csrf_exempt
@require_POST
def send_import(request):
    with transaction.atomic():
        upload = Upload.objects.create(text=request.body.decode())
        job = send_function(import_people, upload.pk)
        if Upload.objects.filter(imported=None).count() > settings.MOST_WAITING:
            transaction.set_rollback(True)  # The file is gone, and its job with it.
            return JsonResponse({"error": "too many files wait"}, status=503)
    return accepted(request, job)


@csrf_exempt
@require_POST
async def asend_import(request):
    upload = await Upload.objects.acreate(text=request.body.decode())
    job = await asend_function(import_people, upload.pk)
    return accepted(request, job)


async def people(request):
    return JsonResponse({"people": await Person.objects.acount(), "uploads": await Upload.objects.acount()})


def ping(request):
    return HttpResponse("ok")
