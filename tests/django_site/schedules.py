"""What workers of the tests' site are to send; imported by them where the site is an installed app."""

from django_worker import schedule
from tests.django_site import tasks

schedule("0 3 * * *", tasks.string_length.bind("nightly"), name="nightly")
