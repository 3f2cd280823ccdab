"""The demo: the whole lifecycle once on the embedded stack, told stage by stage and reported at the end."""
