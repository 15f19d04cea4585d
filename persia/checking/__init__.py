"""`persia-launcher check`: what would go wrong with a deployment, told from its files alone, before anything is served."""
