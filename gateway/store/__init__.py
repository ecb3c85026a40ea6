"""Our own tables and the foreign login table: the only SQL."""
