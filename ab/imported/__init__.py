"""Records from traffic that was not ours: the log of requests that Seldon's executor sends."""
