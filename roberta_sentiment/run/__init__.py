"""From token ids to logits: sessions, batches, and whose turn it is."""
