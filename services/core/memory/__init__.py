"""The memory that versions take: room for them, and leaks."""
