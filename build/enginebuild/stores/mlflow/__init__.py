"""MLflow's model registry: versions go there and come back, and recipes take checkpoints from it."""
