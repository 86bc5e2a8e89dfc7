"""The ledger of a team: Postgres in place of a file, who is gone, and campaigns over several machines."""
