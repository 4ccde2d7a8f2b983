"""Columns for what a run may use and for cancelling one, made by the core's own SQL; no field of the model changes."""

from typing import ClassVar

from django.db import migrations

from django_worker.operations import RunCoreMigration

BACKWARDS = (
    "DROP INDEX treadle_job_to_cancel",
    *(f"ALTER TABLE treadle_job DROP COLUMN {name}" for name in ("timeout_s", "memory_mb", "cores")),
    "ALTER TABLE treadle_job DROP COLUMN cancel_requested_at",
    "UPDATE treadle_meta SET value = '1' WHERE name = 'schema_version'",
)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("django_worker", "0001_initial")]
    operations: ClassVar = [RunCoreMigration(2, BACKWARDS)]
