"""Makes what the baselines have learned."""
