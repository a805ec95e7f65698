"""What each worker process needs: configuration, connections, logs."""
