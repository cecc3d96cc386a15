"""What the build stage writes down of a version: the manifest and its parts."""
