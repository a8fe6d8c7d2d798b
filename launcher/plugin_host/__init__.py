"""Where does the code of plugins run?

In a process of its own, a child of the monitor: what hangs or crashes there is ended and started again, and no probe,
no request and no log line waits for it. It exists only while a plugin has hooks, or the application is asked for its
health.
"""
