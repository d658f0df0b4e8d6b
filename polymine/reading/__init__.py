"""Understands files of texts: format, dialect and columns, and says what it understood."""
