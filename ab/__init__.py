"""A/B tests of sentiment models behind Seldon Core: send, record, judge."""
