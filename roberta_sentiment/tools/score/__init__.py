"""`score`: a file of texts of any length to a file of scores, in constant memory."""
