"""Large tensors reach a Triton on the same machine through memory that both have, instead of through a socket."""
