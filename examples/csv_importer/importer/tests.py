"""The tests of this site, as its author would write them."""

from django.test import TestCase

from django_worker.test import WorkerTestMixin
from importer.models import Person, Upload
from importer.tasks import import_people

FILE = "email,name\nada@example.org,Ada\ngrace@example.org,Grace\n"


class ImportTest(WorkerTestMixin, TestCase):
    def send(self, text):
        return self.client.post("/imports", text, content_type="text/csv")

    def test_a_file_is_imported(self):
        answer = self.send(FILE)
        self.assertEqual(answer.status_code, 202)
        self.assertSent(import_people, Upload.objects.get().pk)
        (job,) = self.run_pending()
        self.assertEqual((job.result(), Person.objects.count()), ({"rows": 2}, 2))

    def test_a_file_that_comes_twice_makes_nobody_twice(self):
        self.send(FILE)
        self.send(FILE)
        self.run_pending()
        self.assertEqual(Person.objects.count(), 2)

    def test_a_file_without_the_columns_is_refused_once(self):
        self.send("a,b\n1,2\n")
        (job,) = self.run_pending()
        self.assertEqual(
            (job.state, job.refresh().error.message[:14], Person.objects.count()), ("failed", "the first line", 0)
        )

    def test_what_the_view_rolls_back_is_not_sent(self):
        with self.settings(MOST_WAITING=0):
            self.assertEqual(self.send(FILE).status_code, 503)
        self.assertNotSent(import_people)
