"""The ``penstock`` command: thin, one file per group of verbs, heavy parts imported lazily."""
