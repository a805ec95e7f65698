"""What is read, exported and erased of participants."""
