"""Writes that go through the queue, and what became of them."""
