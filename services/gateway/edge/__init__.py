"""The two protocols that clients speak; nothing behind this package knows which one it was."""
