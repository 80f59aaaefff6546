"""Tests of the HTML pages in a browser, and the pages that they look at."""
