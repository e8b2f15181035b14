"""Open Sound Control: datagrams, the namespace, and the server that lives in the daemon's event loop."""
