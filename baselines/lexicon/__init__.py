"""VADER: a lexicon of rated words with rules, calibrated on labelled sentences."""
