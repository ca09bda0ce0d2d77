"""The server: what a request passes, the page, and the API."""
