"""What answers while the launcher boots and the server serves?

A process of its own, beside both: no plugin, no driver, no application code. It sees the pool through the scoreboard
and asks for things over the event channel; whether it lives changes nothing for a request.
"""
