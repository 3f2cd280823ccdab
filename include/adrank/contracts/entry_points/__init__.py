"""What each remote program is told, declared once for who starts it and for itself."""
