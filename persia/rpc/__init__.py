"""Asking: the paths of calls, their limits and statuses, one call to a server, and services that are watched."""
