"""What do kernel and platform allow?

The only reader of cgroup, /proc, rlimit and platform facts; it decides nothing (`launcher.budget` does).
"""
