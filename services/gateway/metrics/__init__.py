"""What the workers count, and how one scrape shows all of them."""
