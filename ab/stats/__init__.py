"""The statistics: pure functions on numbers, each with the source of its formula."""
