"""The control plane: route table, rollouts with their evidence and verdicts, versions loaded in Triton.

Read ``app.py`` first: it is the table of contents. ``reconciler.py`` is the loop, ``storage/store.py`` the port to the
database.
"""
