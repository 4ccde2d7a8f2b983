"""The jobs in the admin: to look at, with what sounds secret blanked."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_worker.models import SendFunction
from django_worker.site import our_aliases, site
from treadle.redaction import shown_arguments, task_in
from treadle.store.rows import failure_of
from treadle.task import Task


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
        """Those that may be shown, as the task's option `redact` says; nothing of a job that was forgotten."""
        shown = shown_arguments(job.payload, _task_of(job))
        return "" if shown is None else json.dumps(shown, ensure_ascii=False, indent=2)

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


def _task_of(job: SendFunction) -> Task[..., Any] | None:
    """The job's task, which says what is to be hidden."""
    found = (task_in(site(alias).registry, job.task) for alias in our_aliases())
    return next((task for task in found if task is not None), None)
