"""What is kept in the database?"""

from __future__ import annotations

from django.db import models


class Question(models.Model):
    """Something asked."""

    text = models.CharField(max_length=200)
    asked_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        """Return the question as it is asked."""
        return str(self.text)


class Choice(models.Model):
    """One answer to a question, with how often it was chosen."""

    question = models.ForeignKey(Question, on_delete=models.CASCADE, related_name="choices")
    text = models.CharField(max_length=200)
    votes = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        """Return the answer as it is offered."""
        return str(self.text)
