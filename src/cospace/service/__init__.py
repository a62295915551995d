"""The web service: an index over HTTP, and the page that shows it."""
