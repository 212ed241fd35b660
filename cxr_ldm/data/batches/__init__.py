"""What training draws from a prepared folder."""
