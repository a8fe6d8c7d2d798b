"""What can be asked for over HTTP?"""

from __future__ import annotations

from django.urls import path
from polls.views import questions

urlpatterns = [path("", questions)]
