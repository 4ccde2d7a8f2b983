"""Models for the store's other tables, so that `flush` empties them with that of jobs; the tables stay as they are."""

from typing import ClassVar

from django.db import migrations, models

TABLES = (
    ("JobAttempt", "treadle_attempt", "job_id"),
    ("JobProgress", "treadle_progress", "job_id"),
    ("JobMessage", "treadle_message", "job_id"),
    ("KnownWorker", "treadle_worker", "id"),
    ("KnownSchedule", "treadle_schedule", "name"),
    ("PausedQueue", "treadle_paused_queue", "name"),
)


def _model(name: str, table: str, column: str) -> migrations.CreateModel:
    key = models.CharField(db_column=column, editable=False, max_length=255, primary_key=True, serialize=False)
    options = {"db_table": table, "abstract": False, "default_permissions": ()}
    return migrations.CreateModel(name, [("key", key)], options)


class Migration(migrations.Migration):
    dependencies: ClassVar = [("django_worker", "0005_labels_and_permissions")]
    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(state_operations=[_model(*described) for described in TABLES])
    ]
