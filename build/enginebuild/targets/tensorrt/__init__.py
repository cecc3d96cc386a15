"""TensorRT on this machine's GPU. Nothing here imports TensorRT before a GPU was found: without one it crashes."""
