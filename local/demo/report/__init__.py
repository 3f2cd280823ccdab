"""What the demo leaves behind: summary, pictures and the report."""
