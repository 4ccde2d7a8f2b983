"""The application: registers checks and one signal, and touches neither a database nor a thread."""

from django.apps import AppConfig
from django.core import checks
from django.core.signals import request_started
from django.utils.translation import gettext_lazy as _


class DjangoWorkerConfig(AppConfig):
    name = "django_worker"
    label = "django_worker"
    verbose_name = _("Background jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_worker.checks import check_attendance, check_backport, check_deployment, check_unused_options
        from django_worker.site import EMBEDDED_UID, start_embedded
        from treadle.worker.embedded import stop_on_sigterm

        checks.register(check_unused_options)
        checks.register(check_backport)
        checks.register(check_deployment, deploy=True)
        checks.register(check_attendance, checks.Tags.database)
        # A process that serves requests may run the embedded worker; a command or a shell never does.
        request_started.connect(start_embedded, dispatch_uid=EMBEDDED_UID)
        stop_on_sigterm()
