"""Two models that both judge every text."""
