"""What several resources need; it imports none of them."""
