"""Which models there are, what each takes and at which rate.

`store.Catalogue` gets the rows, `listing.Listing` holds them. What a request may contain and costs is in operations/.
"""
