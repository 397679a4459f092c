"""Modelkeep keeps machine-learning models true in production: serve, remember, notice, tell, put right."""
