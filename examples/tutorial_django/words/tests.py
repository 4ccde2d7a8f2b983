from django.test import TestCase, override_settings

from django_worker import run_pending, send_function

from .tasks import count_words

IMMEDIATE = {"default": {"BACKEND": "django_worker.backend.WorkerBackend", "OPTIONS": {"MODE": "immediate"}}}


class CountWordsTest(TestCase):
    @override_settings(TASKS=IMMEDIATE)
    def test_the_words_of_a_text_are_counted(self):
        job = send_function(count_words, "a b\na")
        self.assertEqual(job.result(), {"a": 2, "b": 1})

    def test_a_view_sends_a_job(self):
        page = self.client.post("/count", {"text": "a b\na"})
        (job,) = run_pending()
        self.assertContains(page, "<job-progress")
        self.assertEqual(job.result(), {"a": 2, "b": 1})
