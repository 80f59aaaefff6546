"""An A/B test on one machine: real microservices, and what Seldon's executor does between them."""
