"""`SendFunction`: every job, to look at. Its rows are the store's, so it writes none."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_worker.results import moment
from treadle import codec
from treadle.errors import TreadleError
from treadle.states import State

if TYPE_CHECKING:
    from django_worker.site import DjangoTreadle


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
    """Looks where the jobs are kept, whatever a router says of other models; nowhere with a `DATABASE_URL`."""

    def get_queryset(self) -> Any:
        query, sites = super().get_queryset(), readable_sites()
        if not sites:
            # Django reaches no database that jobs are kept in, and a table of this name may not even be there.
            return query.none()
        return query.using(sites[0].database) if self._db is None else query


def readable_sites() -> "list[DjangoTreadle]":
    """What stands behind the aliases whose jobs are kept in a database of Django's."""
    from django_worker.site import our_aliases, site

    sites = [site(alias) for alias in our_aliases()]
    return [found for found in sites if not found.has_store_of_its_own]


class SendFunction(models.Model):
    """A job: one request to run a task. Times are kept in microseconds; the properties give datetimes, with USE_TZ off naive ones."""

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
    labels = models.JSONField(_("labels"))
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
        permissions = (("cancel_sendfunction", "Can cancel job"), ("retry_sendfunction", "Can retry job"))

    save = delete = _refuse

    def __str__(self) -> str:
        return f"{self.task} {self.id}"

    @property
    def enqueued_at(self) -> datetime | None:
        return moment(self.enqueued_at_us)

    @property
    def started_at(self) -> datetime | None:
        return moment(self.started_at_us)

    @property
    def finished_at(self) -> datetime | None:
        return moment(self.finished_at_us)

    @property
    def result(self) -> Any:
        """What the function returned, or None."""
        return None if self.result_json is None else codec.decode(self.result_json)


class _OtherTable(models.Model):
    """A table of the store beside that of jobs; a model so that `flush` empties it, and with it TransactionTestCase.

    PostgreSQL truncates no table without those that refer to it. Not `treadle_meta`, which says how old the tables are.
    """

    objects = SendFunctionQuerySet.as_manager()

    class Meta:
        abstract = True
        default_permissions = ()

    save = delete = _refuse

    def __str__(self) -> str:
        return str(self.pk)


class JobAttempt(_OtherTable):
    key = models.CharField(primary_key=True, max_length=255, editable=False, db_column="job_id")

    class Meta(_OtherTable.Meta):
        db_table = "treadle_attempt"


class JobProgress(_OtherTable):
    key = models.CharField(primary_key=True, max_length=255, editable=False, db_column="job_id")

    class Meta(_OtherTable.Meta):
        db_table = "treadle_progress"


class JobMessage(_OtherTable):
    key = models.CharField(primary_key=True, max_length=255, editable=False, db_column="job_id")

    class Meta(_OtherTable.Meta):
        db_table = "treadle_message"


class KnownWorker(_OtherTable):
    key = models.CharField(primary_key=True, max_length=255, editable=False, db_column="id")

    class Meta(_OtherTable.Meta):
        db_table = "treadle_worker"


class KnownSchedule(_OtherTable):
    key = models.CharField(primary_key=True, max_length=255, editable=False, db_column="name")

    class Meta(_OtherTable.Meta):
        db_table = "treadle_schedule"


class PausedQueue(_OtherTable):
    key = models.CharField(primary_key=True, max_length=255, editable=False, db_column="name")

    class Meta(_OtherTable.Meta):
        db_table = "treadle_paused_queue"
