"""The tables of the store, made by the core's own SQL; `SendFunction` looks at one of them."""

from typing import ClassVar

from django.db import migrations, models

from django_worker.operations import RunCoreMigration

STATES = ("blocked", "scheduled", "ready", "running", "succeeded", "failed", "cancelled")

send_function = migrations.CreateModel(
    name="SendFunction",
    fields=[
        ("id", models.CharField(editable=False, max_length=63, primary_key=True, serialize=False)),
        ("kind", models.CharField(max_length=16)),
        ("task", models.CharField(max_length=255, verbose_name="task")),
        ("queue", models.CharField(max_length=255, verbose_name="queue")),
        ("pool", models.CharField(max_length=32)),
        ("priority", models.SmallIntegerField(verbose_name="priority")),
        ("state", models.CharField(choices=[(s, s) for s in STATES], max_length=16, verbose_name="state")),
        ("attempt", models.IntegerField(verbose_name="attempt")),
        ("crashes", models.IntegerField(verbose_name="crashes")),
        ("enqueued_at_us", models.BigIntegerField(db_column="enqueued_at")),
        ("started_at_us", models.BigIntegerField(db_column="started_at", null=True)),
        ("finished_at_us", models.BigIntegerField(db_column="finished_at", null=True)),
        ("payload", models.TextField(verbose_name="arguments")),
        ("result_json", models.TextField(db_column="result", null=True, verbose_name="result")),
        ("failure_json", models.TextField(db_column="failure", null=True)),
    ],
    options={
        "verbose_name": "job",
        "verbose_name_plural": "jobs",
        "db_table": "treadle_job",
        "ordering": ("-id",),
        "default_permissions": ("view",),
    },
)


class Migration(migrations.Migration):
    initial = True
    dependencies: ClassVar = []
    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(database_operations=[RunCoreMigration(1)], state_operations=[send_function])
    ]
