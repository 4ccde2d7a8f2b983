"""`{% load worker %}`: `{% job_progress job %}`."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from django_worker.following import progress
from treadle.handle import JobHandle

register = template.Library()


@register.simple_tag(takes_context=True)
def job_progress(context: Any, job: JobHandle[Any], *, bound: bool = False, **options: Any) -> SafeString:
    """The element that follows a job, and its script: `{% job_progress job cancel=True result=True label="Report" %}`.

    `bound`: good only for who makes this request, which the template must be given. See `django_worker.progress`.
    """
    return progress(job, bound_to=context["request"] if bound else None, **options)
