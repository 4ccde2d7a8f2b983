"""The jobs in the admin: to look at, with what sounds secret blanked, to cancel and to send once more.

`get_queryset` is the place to show only some: subclass, filter there by `labels`, and register yours. Actions keep to it.
"""

import json
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_worker.models import SendFunction, readable_sites
from django_worker.site import our_aliases, site
from treadle import codec
from treadle.clock import SystemClock
from treadle.redaction import shown_arguments, task_in
from treadle.store.rows import failure_of
from treadle.task import Task

MOST_LISTED = 10_000
"""How far one can page; a filter leads to older ones."""
SHOWN_IN_PART = ("payload", "result_json", "failure_json")
"""What may hold secrets that are blanked where it is shown."""
NEWEST = 1_000
"""Among so many the filter looks for names of queues."""


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than one can page: a count of all jobs ever reads the whole table on each page."""

    @cached_property
    def count(self) -> int:
        listed: Any = self.object_list[:MOST_LISTED]
        return int(listed.count())


class QueueFilter(admin.SimpleListFilter):
    """By the queues of the newest jobs: Django's own filter reads the whole table for their names."""

    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = model_admin.get_queryset(request).order_by("-id").values_list("queue", flat=True)[:NEWEST]
        return [(name, name) for name in sorted(set(newest))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[SendFunction]) -> QuerySet[SendFunction]:
        return queryset.filter(queue=self.value()) if self.value() else queryset


@admin.register(SendFunction)
class SendFunctionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "task", "queue", "state", "attempt", "enqueued_at", "finished_at")
    list_filter = ("state", QueueFilter)
    search_fields = ("id", "task")
    search_help_text = _("an id, or the beginning of a task's name")
    sortable_by = ("id",)
    show_full_result_count = False
    paginator = BoundedPaginator
    actions = ("cancel", "retry")
    fields = (
        "id", "task", "queue", "pool", "priority", "state", "attempt", "crashes", "labels", "enqueued_at", "started_at",
        "finished_at", "arguments", "returned", "error",
    )  # fmt: skip
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[SendFunction]:
        # The list shows none of these, and each may be large.
        return super().get_queryset(request).defer(*SHOWN_IN_PART)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # A filter in the address would tell letter by letter what is blanked.
        is_secret = lookup.partition("__")[0] in SHOWN_IN_PART
        return not is_secret and bool(super().lookup_allowed(lookup, value, request))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[SendFunction], search_term: str
    ) -> tuple[QuerySet[SendFunction], bool]:
        # One or the other: to look for both at once is to read each row, where an id is found by its index.
        try:
            found = queryset.filter(pk=str(UUID(search_term)))
        except ValueError:
            found = queryset.filter(task__startswith=search_term) if search_term else queryset
        return found, False

    @admin.display(description=_("arguments"))
    def arguments(self, job: SendFunction) -> str:
        """Those that may be shown, as the task's option `redact` says; nothing of a job that was forgotten."""
        shown = shown_arguments(job.payload, _task_of(job))
        return "" if shown is None else json.dumps(shown, ensure_ascii=False, indent=2)

    @admin.display(description=_("result"))
    def returned(self, job: SendFunction) -> str:
        if not job.result_json:
            return ""
        return json.dumps(codec.redacted(codec.plain(job.result_json)), ensure_ascii=False, indent=2)

    @admin.display(description=_("error"))
    def error(self, job: SendFunction) -> str:
        failure = failure_of(job.failure_json)
        return failure.traceback or str(failure) if failure else ""

    @admin.action(description=_("Cancel selected jobs"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[SendFunction]) -> None:
        """Those that wait, now; those that run are asked to end."""
        done = self._apply(request, queryset, _store_verb("cancel"), "cancelled")
        text = ngettext("%d job was cancelled or asked to end.", "%d jobs were cancelled or asked to end.", done) % done
        self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)

    @admin.action(description=_("Send selected jobs once more"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[SendFunction]) -> None:
        """Those that failed or were cancelled; see `JobHandle.retry`."""
        done = self._apply(request, queryset, _store_verb("redrive"), "sent once more")
        text = ngettext("%d job was sent once more.", "%d jobs were sent once more.", done) % done
        self.message_user(request, text, messages.SUCCESS if done else messages.WARNING)

    def _apply(
        self, request: HttpRequest, queryset: QuerySet[SendFunction], verb: "Callable[[list[str]], set[str]]", said: str
    ) -> int:
        """Do it to the selected jobs, and keep in the admin's history who did; returns to how many it was done."""
        jobs = {job.id: job for job in queryset}
        done = verb(list(jobs))
        for id_ in jobs.keys() & done:
            self.log_change(request, jobs[id_], said)
        return len(done)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(readable_sites()) and super().has_module_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(readable_sites()) and super().has_view_permission(request, obj)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self._has_permission(request, "cancel")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self._has_permission(request, "retry")

    def _has_permission(self, request: HttpRequest, action: str) -> bool:
        code = get_permission_codename(action, self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{code}"))


def _store_verb(name: str) -> Callable[[Iterable[str]], set[str]]:
    """A verb of the store that the model looks at, in one transaction for all."""

    def apply(ids: Iterable[str]) -> set[str]:
        store = readable_sites()[0].store
        done: set[str] = getattr(store, name)(list(ids), SystemClock().now_us())
        return done

    return apply


def _task_of(job: SendFunction) -> Task[..., Any] | None:
    """The job's task, which says what is to be hidden."""
    found = (task_in(site(alias).registry, job.task) for alias in our_aliases())
    return next((task for task in found if task is not None), None)
