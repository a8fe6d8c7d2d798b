"""What does a page answer?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse

from polls.models import Question

if TYPE_CHECKING:
    from django.http import HttpRequest


async def questions(_request: HttpRequest) -> JsonResponse:
    """Return every question; it reads the migrated table, so it fails on an empty database."""
    texts = [question.text async for question in Question.objects.order_by("asked_at")]
    return JsonResponse({"questions": texts})
