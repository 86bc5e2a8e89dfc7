"""The ledger's tables, and the steps from each version of them to the next.

Amounts are whole millionths of a credit, moments are seconds since 1970 (REAL), days are UTC dates `YYYY-MM-DD`.
Triggers keep `spend` equal to the sums over `jobs`, so that a ceiling check reads a handful of rows however long the
ledger has grown, and no code path can change a job's amounts without changing the day's total.
"""

from __future__ import annotations

APPLICATION_ID = 0x4B425A4C
VERSION = 4

_V1 = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('sending', 'accepted', 'unknown', 'completed', 'failed', 'refunded',
                                         'refused', 'not_accepted', 'lost')),
    digest TEXT NOT NULL,
    tool TEXT NOT NULL,
    route TEXT NOT NULL,
    bucket TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    generation_type TEXT,
    arguments TEXT NOT NULL,
    recipe TEXT NOT NULL DEFAULT '',
    client TEXT,
    owner TEXT NOT NULL,
    day TEXT NOT NULL,
    quote INTEGER,
    quote_basis TEXT NOT NULL,
    expected_seconds INTEGER,
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    charged INTEGER CHECK (charged >= 0),
    results TEXT NOT NULL DEFAULT '[]',
    files TEXT NOT NULL DEFAULT '[]',
    error_code TEXT,
    error TEXT,
    saver TEXT,
    save_error TEXT,
    created_at REAL NOT NULL,
    sent_at REAL,
    paced_at REAL,
    accepted_at REAL,
    settled_at REAL,
    saved_at REAL
);
CREATE INDEX jobs_recent ON jobs (account, seq);
CREATE INDEX jobs_digest ON jobs (account, digest, seq);
CREATE INDEX jobs_open ON jobs (account, state, bucket) WHERE state IN ('sending', 'accepted', 'unknown');
CREATE INDEX jobs_paced ON jobs (account, bucket, paced_at) WHERE paced_at IS NOT NULL;
CREATE INDEX jobs_unsaved ON jobs (account, settled_at) WHERE state = 'completed' AND saved_at IS NULL;
CREATE INDEX jobs_doubted ON jobs (account, settled_at) WHERE state = 'not_accepted';

CREATE TABLE generations (
    account TEXT NOT NULL,
    generation_id TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    position INTEGER NOT NULL,
    PRIMARY KEY (account, generation_id)
) WITHOUT ROWID;
CREATE INDEX generations_job ON generations (job);

CREATE TABLE spend (
    account TEXT NOT NULL,
    day TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT NOT NULL,
    recipe TEXT NOT NULL,
    jobs INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    reserved INTEGER NOT NULL,
    PRIMARY KEY (account, day, tool, model, recipe)
) WITHOUT ROWID;

CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO spend VALUES (NEW.account, NEW.day, NEW.tool, NEW.model, NEW.recipe,
                              1, COALESCE(NEW.charged, 0), NEW.reserved)
    ON CONFLICT DO UPDATE SET jobs = jobs + 1, charged = charged + excluded.charged,
                              reserved = reserved + excluded.reserved;
END;
CREATE TRIGGER jobs_amounts_changed AFTER UPDATE OF charged, reserved ON jobs BEGIN
    UPDATE spend SET charged = charged - COALESCE(OLD.charged, 0) + COALESCE(NEW.charged, 0),
                     reserved = reserved - OLD.reserved + NEW.reserved
    WHERE account = NEW.account AND day = NEW.day AND tool = NEW.tool AND model = NEW.model AND recipe = NEW.recipe;
END;
CREATE TRIGGER jobs_stay BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'ledger rows are never deleted'); END;

CREATE TABLE approvals (
    code_hash TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    quote INTEGER,
    issued_at REAL NOT NULL,
    used_at REAL
) WITHOUT ROWID;

CREATE TABLE frozen_quotes (
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    quote INTEGER,
    basis TEXT NOT NULL,
    balance REAL,
    frozen_at REAL NOT NULL,
    PRIMARY KEY (account, digest)
) WITHOUT ROWID;

CREATE TABLE pauses (
    account TEXT NOT NULL,
    bucket TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (account, bucket)
) WITHOUT ROWID;

CREATE TABLE reads (account TEXT NOT NULL, valid_until REAL NOT NULL, permits INTEGER NOT NULL);
CREATE INDEX reads_window ON reads (account, valid_until);

CREATE TABLE latest_day (only INTEGER PRIMARY KEY CHECK (only = 0), day TEXT NOT NULL);
"""

_V2 = """
CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    space TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    lock_device TEXT,
    lock_inode TEXT,
    registered_at REAL NOT NULL,
    ended_at REAL
) WITHOUT ROWID;
ALTER TABLE jobs ADD COLUMN verdict TEXT;
"""

_V3 = """
ALTER TABLE jobs ADD COLUMN run TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_run ON jobs (account, run) WHERE run <> '';
"""

_V4 = """
ALTER TABLE jobs ADD COLUMN reads_before INTEGER NOT NULL DEFAULT 0;

CREATE TABLE history_reads (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    boot TEXT NOT NULL,
    began REAL NOT NULL,
    ids TEXT NOT NULL,
    balance REAL
);
CREATE INDEX history_reads_of ON history_reads (account, number);

CREATE TABLE history_rows (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    prompt TEXT,
    model TEXT,
    generation_type TEXT,
    created_at TEXT,
    credits REAL,
    PRIMARY KEY (account, id)
) WITHOUT ROWID;

CREATE TABLE watches (
    job TEXT NOT NULL REFERENCES jobs (id),
    boot TEXT NOT NULL,
    since REAL NOT NULL,
    PRIMARY KEY (job, boot)
) WITHOUT ROWID;

CREATE TABLE denied_rows (
    job TEXT NOT NULL REFERENCES jobs (id),
    generation_id TEXT NOT NULL,
    PRIMARY KEY (job, generation_id)
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4)
"""`MIGRATIONS[n]` leads from version n to n + 1. Released steps are never edited; new ones are appended."""
