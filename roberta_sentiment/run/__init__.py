"""From token ids to logits: the queue, batches, worker threads and the session."""
