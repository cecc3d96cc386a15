"""An HTTP/2 server: a core that does no I/O (RFC 9113, RFC 7541), and the connections that feed it."""
