"""A thousand clients that dribble: how soon they are gone, and what the others notice of them."""
