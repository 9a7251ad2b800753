"""What an operator sees of a process: metrics, log lines, traces."""
