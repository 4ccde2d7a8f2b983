"""The import of a file: its rows and the end of its job are kept in one transaction, so each file is imported once."""

import csv
import io

from django.db import transaction

from django_worker import task
from importer.models import Person, Upload
from treadle import Reject

ROWS_AT_ONCE = 200


@task(queue_name="imports", takes_context=True, max_attempts=3, timeout_s=600)
def import_people(context, upload_id):
    upload = Upload.objects.get(pk=upload_id)
    rows = list(csv.DictReader(io.StringIO(upload.text)))
    if rows and not {"email", "name"} <= rows[0].keys():
        raise Reject("the first line must name the columns email and name")  # No attempt would mend it.
    with transaction.atomic():
        for start in range(0, len(rows), ROWS_AT_ONCE):
            people = [Person(email=row["email"], name=row["name"]) for row in rows[start : start + ROWS_AT_ONCE]]
            Person.objects.bulk_create(people, ignore_conflicts=True)
            context.progress(start + len(people), len(rows), "rows")
        Upload.objects.filter(pk=upload_id).update(imported=len(rows))
        context.complete_in("default", {"rows": len(rows)})
