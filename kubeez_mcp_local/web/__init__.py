"""The pages shown in a browser: a loopback upload page, guarded by a token and gone when its links have expired."""
