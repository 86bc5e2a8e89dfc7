"""What models exist, what each accepts and costs, and which one fits.

`store.Catalogue` gets the rows, `listing.Listing` holds them, `check_media` and its sisters make a request fit its
model, `quotes` prices it, `pick` and `plan` choose. Nothing here speaks HTTP.
"""
