"""`SendFunction`: every job, to look at. Its rows are the store's, so it writes none."""

from datetime import datetime
from typing import Any, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from treadle import codec
from treadle.clock import as_datetime
from treadle.errors import TreadleError
from treadle.states import State


class ReadOnlyError(TreadleError, TypeError):
    """Raised when a job would be written through its model."""


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    raise ReadOnlyError(
        "SendFunction is read-only: send with django_worker.send_function(task, …), cancel with "
        "django_worker.job(id).cancel(); finished jobs are pruned by the worker"
    )


class SendFunctionQuerySet(models.QuerySet["SendFunction"]):
    """Looks, and refuses to write."""

    create = get_or_create = update_or_create = bulk_create = update = bulk_update = delete = _refuse


class SendFunctionManager(models.Manager.from_queryset(SendFunctionQuerySet)):  # type: ignore[misc]
    """Looks where the jobs are kept, whatever a router says of other models."""

    def get_queryset(self) -> Any:
        from django_worker.site import our_aliases, site

        aliases = our_aliases()
        query = super().get_queryset()
        return query.using(site(aliases[0]).database) if aliases and self._db is None else query


class SendFunction(models.Model):
    """A job: one request to run a task. Times are kept in microseconds; the properties give datetimes."""

    id = models.CharField(primary_key=True, max_length=63, editable=False)
    kind = models.CharField(max_length=16)
    task = models.CharField(_("task"), max_length=255)
    queue = models.CharField(_("queue"), max_length=255)
    pool = models.CharField(max_length=32)
    priority = models.SmallIntegerField(_("priority"))
    state = models.CharField(_("state"), max_length=16, choices=[(state.value, _(state.value)) for state in State])
    attempt = models.IntegerField(_("attempt"))
    crashes = models.IntegerField(_("crashes"))
    enqueued_at_us = models.BigIntegerField(db_column="enqueued_at")
    started_at_us = models.BigIntegerField(db_column="started_at", null=True)
    finished_at_us = models.BigIntegerField(db_column="finished_at", null=True)
    payload = models.TextField(_("arguments"))
    result_json = models.TextField(_("result"), db_column="result", null=True)
    failure_json = models.TextField(db_column="failure", null=True)

    objects = SendFunctionManager()

    class Meta:
        db_table = "treadle_job"
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        ordering = ("-id",)
        default_permissions = ("view",)

    save = delete = _refuse

    def __str__(self) -> str:
        return f"{self.task} {self.id}"

    @property
    def enqueued_at(self) -> datetime:
        return as_datetime(self.enqueued_at_us)

    @property
    def started_at(self) -> datetime | None:
        return None if self.started_at_us is None else as_datetime(self.started_at_us)

    @property
    def finished_at(self) -> datetime | None:
        return None if self.finished_at_us is None else as_datetime(self.finished_at_us)

    @property
    def result(self) -> Any:
        """What the function returned, or None."""
        return None if self.result_json is None else codec.decode(self.result_json)
