"""An index as a service: an HTTP interface, and the web page that uses it."""
