"""What versions are built for: how each runtime makes its variants and runs them."""
