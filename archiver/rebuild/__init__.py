"""Making the database again from the journal."""
