"""The stand-in's second door: the hosted tools over streamable HTTP, on the same books as the REST routes."""
