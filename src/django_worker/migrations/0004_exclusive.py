"""Indexes for jobs with a concurrency key, made by the core's own SQL; no field of the model changes."""

from typing import ClassVar

from django.db import migrations

from django_worker.operations import RunCoreMigration

NEW = ("ready", "ready_in_queue", "urgent_with_key", "urgent_with_key_in_queue", "ready_with_key_in_queue")
ORDER = "pool, priority DESC, run_at, id"
BACKWARDS = (
    *(f"DROP INDEX treadle_job_{name}" for name in NEW),
    f"CREATE INDEX treadle_job_ready ON treadle_job ({ORDER}) WHERE state = 'ready'",
    f"CREATE INDEX treadle_job_ready_in_queue ON treadle_job (queue, {ORDER}) WHERE state = 'ready'",
    "UPDATE treadle_meta SET value = '3' WHERE name = 'schema_version'",
)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("django_worker", "0003_options")]
    operations: ClassVar = [RunCoreMigration(4, BACKWARDS)]
