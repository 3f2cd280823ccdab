"""How ads are ordered: the one scorer, and the model of who looks at which slot."""
