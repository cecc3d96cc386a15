"""What to build, from what, and how good it must be: the model of `recipe.yaml`."""
