"""The single questions of an analysis, each a pure function from two tallies to a ``Check``.

Harm is shown when the candidate's bound on its good side is still worse than stable's bound on its bad side by more
than the tolerance. That it does no harm is shown when it is the other way round: the candidate's bound on its bad side
is no worse than stable's on its good side and the tolerance. Between both the data is not enough.
"""
