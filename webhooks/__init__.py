"""The delivery of facts to the tenants' destinations."""
