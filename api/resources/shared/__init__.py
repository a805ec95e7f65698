"""Code shared by several resources; it imports none of them."""
