"""What happens in the controller, told as it happens: server-sent events, and a short memory of each rollout's course.

The loop knows nothing of this. ``Watch`` looks at what each tick left behind, ``EventFeed`` deals the notices out,
``EventStream`` sends them.
"""
