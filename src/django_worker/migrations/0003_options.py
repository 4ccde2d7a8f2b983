"""Keys, expiry, paused queues and schedules, made by the core's own SQL; no field of the model changes."""

from typing import ClassVar

from django.db import migrations

from django_worker.operations import RunCoreMigration

INDEXES = ("unique", "exclusive", "ready_with_key", "expiring", "result_expiring")
COLUMNS = ("unique_key", "concurrency_key", "expires_at", "result_ttl", "redriven_at")
BACKWARDS = (
    "DROP TABLE treadle_schedule",
    "DROP TABLE treadle_paused_queue",
    *(f"DROP INDEX treadle_job_{name}" for name in INDEXES),
    *(f"ALTER TABLE treadle_job DROP COLUMN {name}" for name in COLUMNS),
    "UPDATE treadle_meta SET value = '2' WHERE name = 'schema_version'",
)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("django_worker", "0002_limits")]
    operations: ClassVar = [RunCoreMigration(3, BACKWARDS)]
