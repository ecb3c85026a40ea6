"""Mail we have promised to deliver."""
