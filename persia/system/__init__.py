"""What the programs need of the operating system: files, locks, signals, memory, ports, and processes."""
