"""What wrote the files in tests/data/dumps. Each script names the versions that it ran with in a versions.txt."""
