"""A whole deployment on one machine: its processes, started in order, watched, and stopped in reverse."""
