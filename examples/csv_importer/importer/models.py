"""What is imported, and from what."""

from django.db import models


class Upload(models.Model):
    """A file as it was sent. A job is given its id, not its text."""

    text = models.TextField()
    sent_at = models.DateTimeField(auto_now_add=True)
    imported = models.PositiveIntegerField(null=True)

    def __str__(self) -> str:
        return f"upload {self.pk}"


class Person(models.Model):
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.email
