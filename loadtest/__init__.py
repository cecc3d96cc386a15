"""Load against a running gateway: open-loop load, SLO verdicts and the benchmark."""
