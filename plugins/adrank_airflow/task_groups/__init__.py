"""Parts of a graph that are the same wherever a package goes live."""
