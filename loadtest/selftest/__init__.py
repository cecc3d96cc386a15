"""Whether rollouts do what they are for: known faults behind a candidate, in front of a real Triton."""
