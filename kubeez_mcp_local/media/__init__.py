"""Local files: which may be read, what they are, how long they last, and what is shown of them."""
