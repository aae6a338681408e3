"""How peers reach each other: ZeroMQ, and memory with virtual time."""
