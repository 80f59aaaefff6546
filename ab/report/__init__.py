"""What a record says: who won, how sure that is, and what it cost."""
