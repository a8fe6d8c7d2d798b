"""What was asked for, and where was it said?

`launcher.settings.load.load` reads everything, `launcher.settings.topics` has what it returns. Nothing is imported
here: the processes of the steps import `topics` alone.
"""
