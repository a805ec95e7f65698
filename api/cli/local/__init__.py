"""`unbroken up`: servers and workers as child processes on one machine."""
