"""The dashboard: pages rendered here, one style sheet, one script that may be missing. Nothing comes from elsewhere.

``pages.py`` has what can be asked for; each page has a module that says what is on it, as a pure function of the state,
and a template that says how it looks.
"""
