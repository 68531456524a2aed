"""What several commands tell people of, as text and as JSON."""
