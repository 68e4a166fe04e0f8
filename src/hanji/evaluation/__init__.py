"""How good a model is: scores, and the report that tells of them."""
