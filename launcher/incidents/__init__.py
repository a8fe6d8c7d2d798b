"""What is worth a report, and where is it kept?

An incident is anything that a person should hear about: a worker's death, a start that failed, a lock that was lost. A
report is its document (docs/reference/crash-reports.md): a plain dict everywhere, and `launcher.records.Incident` for
plugins. Boot, server and monitor import this, so it imports none of them, and nothing that costs memory.
"""
