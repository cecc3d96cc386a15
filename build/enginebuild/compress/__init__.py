"""Smaller networks out of a trained one: pruned, sparse, distilled, trained for INT8; each fine-tuned by the recipe."""
