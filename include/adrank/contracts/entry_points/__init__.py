"""The arguments of each remote program, declared once for who starts it and for itself."""
