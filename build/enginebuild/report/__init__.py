"""What a build found out, for people: a table for a terminal, and a page with plots that needs matplotlib."""
