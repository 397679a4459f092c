"""Public data: fetched from where its owner publishes it, checked against a digest, and made a recipe's table."""
