"""The domain: routes, rollouts, analysis, histograms, manifests and errors.

The core imports the standard library only. It does no I/O, reads no clock, starts no thread and logs nothing:
time and randomness are parameters, results are values.
"""
