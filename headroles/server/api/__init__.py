"""The API: endpoints, and how they are published."""
