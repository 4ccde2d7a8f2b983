"""The jobs in the admin: to look at, with what sounds secret blanked."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_worker.models import SendFunction
from treadle import codec
from treadle.store.rows import failure_of


@admin.register(SendFunction)
class SendFunctionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "task", "queue", "state", "attempt", "enqueued_at", "finished_at")
    list_filter = ("state", "queue")
    search_fields = ("id", "task")
    # The count of all jobs ever would be a scan of the table on each page.
    show_full_result_count = False
    fields = (
        "id", "task", "queue", "pool", "priority", "state", "attempt", "crashes", "enqueued_at", "started_at",
        "finished_at", "arguments", "error",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description=_("arguments"))
    def arguments(self, job: SendFunction) -> str:
        return json.dumps(codec.redacted(codec.plain(job.payload)), ensure_ascii=False, indent=2)

    @admin.display(description=_("error"))
    def error(self, job: SendFunction) -> str:
        failure = failure_of(job.failure_json)
        return failure.traceback or str(failure) if failure else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
