"""For MIDDLEWARE: `django_worker.middleware.QueueFullMiddleware`."""

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from django_worker.views import asked, respond
from treadle.errors import QueueFull
from treadle.web.desk import readable
from treadle.web.problems import busy


class QueueFullMiddleware(MiddlewareMixin):
    """Answers 503 with Retry-After where a view meets a pool that takes no more calls now."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, QueueFull):
            return None
        who = asked(request)
        return respond(request, readable(busy(who), who))
