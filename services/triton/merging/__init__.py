"""Requests that are ready at the same moment reach Triton as one, where the model would batch them anyway."""
