"""The intake: streams in Redis, and the script that appends to them."""
