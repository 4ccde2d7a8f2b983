"""The model shows the labels, and its actions have permissions of their own; the tables stay as they are."""

from typing import ClassVar

from django.db import migrations, models

PERMISSIONS = (("cancel_sendfunction", "Can cancel job"), ("retry_sendfunction", "Can retry job"))
OPTIONS = {
    "verbose_name": "job",
    "verbose_name_plural": "jobs",
    "ordering": ("-id",),
    "default_permissions": ("view",),
    "permissions": PERMISSIONS,
}


class Migration(migrations.Migration):
    dependencies: ClassVar = [("django_worker", "0004_exclusive")]
    operations: ClassVar = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField("SendFunction", "labels", models.JSONField(verbose_name="labels")),
                migrations.AlterModelOptions("SendFunction", OPTIONS),
            ]
        )
    ]
