"""Models that the registry does not name: checked, and opened in processes of their own."""
