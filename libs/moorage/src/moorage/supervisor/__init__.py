"""Child processes that are kept running: `moorage up`, and what it shares with the parent of workers."""
