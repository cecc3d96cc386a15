"""The control plane: rollouts, their evidence and verdicts, the route table, and what is loaded in Triton."""
