"""How a stage tells what it is doing: log lines, metrics.jsonl, Prometheus series, `/status`, progress on a terminal."""
