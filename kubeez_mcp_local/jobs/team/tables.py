"""The tables of a team's ledger on Postgres: those of `database.py` at version 6, and what a team has more."""

from __future__ import annotations

_TABLES = """
CREATE TABLE jobs (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    quote BIGINT,
    quote_basis TEXT NOT NULL,
    expected_seconds BIGINT,
    reserved BIGINT NOT NULL CHECK (reserved >= 0),
    charged BIGINT CHECK (charged >= 0),
    results TEXT NOT NULL DEFAULT '[]',
    files TEXT NOT NULL DEFAULT '[]',
    error_code TEXT,
    error TEXT,
    saver TEXT,
    save_error TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    sent_at DOUBLE PRECISION,
    paced_at DOUBLE PRECISION,
    accepted_at DOUBLE PRECISION,
    settled_at DOUBLE PRECISION,
    saved_at DOUBLE PRECISION,
    verdict TEXT,
    run TEXT NOT NULL DEFAULT '',
    reads_before BIGINT NOT NULL DEFAULT 0,
    place TEXT NOT NULL DEFAULT '',
    labels TEXT NOT NULL DEFAULT '{}',
    person TEXT NOT NULL DEFAULT ''
);
CREATE INDEX jobs_recent ON jobs (account, seq);
CREATE INDEX jobs_digest ON jobs (account, digest, seq);
CREATE INDEX jobs_open ON jobs (account, state, bucket) WHERE state IN ('sending', 'accepted', 'unknown');
CREATE INDEX jobs_paced ON jobs (account, bucket, paced_at) WHERE paced_at IS NOT NULL;
CREATE INDEX jobs_unsaved ON jobs (account, settled_at) WHERE state = 'completed' AND saved_at IS NULL;
CREATE INDEX jobs_doubted ON jobs (account, settled_at) WHERE state = 'not_accepted';
CREATE INDEX jobs_run ON jobs (account, run) WHERE run <> '';
CREATE INDEX jobs_placed ON jobs (account, place) WHERE place <> '';

CREATE TABLE generations (
    account TEXT NOT NULL,
    generation_id TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    position BIGINT NOT NULL,
    PRIMARY KEY (account, generation_id)
);
CREATE INDEX generations_job ON generations (job);

CREATE TABLE spend (
    account TEXT NOT NULL,
    day TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT NOT NULL,
    recipe TEXT NOT NULL,
    person TEXT NOT NULL,
    jobs BIGINT NOT NULL,
    charged BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    PRIMARY KEY (account, day, tool, model, recipe, person)
);

CREATE FUNCTION jobs_inserted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
    INSERT INTO spend VALUES (NEW.account, NEW.day, NEW.tool, NEW.model, NEW.recipe, NEW.person,
                              1, COALESCE(NEW.charged, 0), NEW.reserved)
    ON CONFLICT (account, day, tool, model, recipe, person) DO UPDATE
    SET jobs = spend.jobs + 1, charged = spend.charged + excluded.charged,
        reserved = spend.reserved + excluded.reserved;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION jobs_inserted();

CREATE FUNCTION jobs_amounts_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$ BEGIN
    UPDATE spend SET charged = charged - COALESCE(OLD.charged, 0) + COALESCE(NEW.charged, 0),
                     reserved = reserved - OLD.reserved + NEW.reserved
    WHERE account = NEW.account AND day = NEW.day AND tool = NEW.tool AND model = NEW.model
    AND recipe = NEW.recipe AND person = NEW.person;
    RETURN NULL;
END $$;
CREATE TRIGGER jobs_amounts_changed AFTER UPDATE OF charged, reserved ON jobs
    FOR EACH ROW EXECUTE FUNCTION jobs_amounts_changed();

CREATE FUNCTION jobs_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'ledger rows are never deleted';
END $$;
CREATE TRIGGER jobs_stay BEFORE DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION jobs_stay();

CREATE TABLE approvals (
    code_hash TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    quote BIGINT,
    issued_at DOUBLE PRECISION NOT NULL,
    used_at DOUBLE PRECISION
);
CREATE TABLE frozen_quotes (
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    quote BIGINT,
    basis TEXT NOT NULL,
    balance DOUBLE PRECISION,
    frozen_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, digest)
);
CREATE TABLE pauses (
    account TEXT NOT NULL,
    bucket TEXT NOT NULL,
    until DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, bucket)
);
CREATE TABLE reads (
    account TEXT NOT NULL, valid_until DOUBLE PRECISION NOT NULL, permits BIGINT NOT NULL
);
CREATE INDEX reads_window ON reads (account, valid_until);
CREATE TABLE latest_day ("only" BIGINT PRIMARY KEY CHECK ("only" = 0), day TEXT NOT NULL);

CREATE TABLE owners (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    space TEXT NOT NULL,
    pid BIGINT NOT NULL,
    started TEXT NOT NULL,
    beat BIGINT NOT NULL DEFAULT 0,
    registered_at DOUBLE PRECISION NOT NULL,
    ended_at DOUBLE PRECISION
);

CREATE TABLE history_reads (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account TEXT NOT NULL,
    boot TEXT NOT NULL,
    began DOUBLE PRECISION NOT NULL,
    ids TEXT NOT NULL,
    balance DOUBLE PRECISION
);
CREATE INDEX history_reads_of ON history_reads (account, number);
CREATE TABLE history_rows (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    prompt TEXT,
    model TEXT,
    generation_type TEXT,
    created_at TEXT,
    credits DOUBLE PRECISION,
    PRIMARY KEY (account, id)
);
CREATE TABLE watches (
    job TEXT NOT NULL REFERENCES jobs (id),
    boot TEXT NOT NULL,
    since DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (job, boot)
);
CREATE TABLE denied_rows (
    job TEXT NOT NULL REFERENCES jobs (id),
    generation_id TEXT NOT NULL,
    PRIMARY KEY (job, generation_id)
);

CREATE TABLE campaigns (
    account TEXT NOT NULL,
    run TEXT NOT NULL,
    in_ledger TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'cancelled')),
    recipe TEXT NOT NULL,
    given TEXT NOT NULL,
    budget DOUBLE PRECISION NOT NULL,
    agreed DOUBLE PRECISION,
    on_unknown TEXT NOT NULL CHECK (on_unknown IN ('wait', 'skip')),
    person TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, run)
);
CREATE TABLE campaign_rows (
    account TEXT NOT NULL,
    run TEXT NOT NULL,
    number BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'working', 'parked', 'unknown', 'failed', 'completed',
                                         'cancelled')),
    attempt BIGINT NOT NULL DEFAULT 1,
    label TEXT NOT NULL,
    owner TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    credits DOUBLE PRECISION NOT NULL DEFAULT 0,
    files TEXT NOT NULL DEFAULT '[]',
    changed_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, run, number),
    FOREIGN KEY (account, run) REFERENCES campaigns (account, run)
);
CREATE INDEX campaign_rows_open ON campaign_rows (account, state) WHERE state IN ('waiting', 'working');
CREATE INDEX campaign_rows_states ON campaign_rows (account, run, state);

CREATE TABLE team_ceilings (account TEXT PRIMARY KEY, per_day BIGINT NOT NULL);
CREATE TABLE ledger_version (version BIGINT NOT NULL);
INSERT INTO ledger_version VALUES (6);
"""

_AS_IN_SQLITE = """
CREATE FUNCTION each_of(entries TEXT) RETURNS TABLE (value json, key bigint) LANGUAGE sql IMMUTABLE AS $$
    SELECT value, number - 1 FROM json_array_elements(CAST(entries AS json)) WITH ORDINALITY AS each (value, number)
$$;
CREATE FUNCTION json_extract(entry json, path TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT entry ->> substr(path, 3)
$$;
CREATE FUNCTION json_array_length(entries TEXT) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT json_array_length(CAST(entries AS json))
$$;
CREATE FUNCTION instr(whole TEXT, part TEXT) RETURNS integer LANGUAGE sql IMMUTABLE AS $$
    SELECT strpos(whole, part)
$$;
CREATE FUNCTION searched(VARIADIC texts TEXT[]) RETURNS TEXT LANGUAGE sql IMMUTABLE AS $$
    SELECT lower(array_to_string(texts, chr(10)) COLLATE "default")
$$;
"""

_SCHEDULES = """
ALTER TABLE campaigns ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
CREATE TABLE schedules (
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    cron TEXT NOT NULL,
    zone TEXT NOT NULL,
    recipe TEXT NOT NULL,
    given TEXT NOT NULL,
    labels TEXT NOT NULL,
    files TEXT NOT NULL,
    budget DOUBLE PRECISION NOT NULL,
    agreed DOUBLE PRECISION,
    on_unknown TEXT NOT NULL CHECK (on_unknown IN ('wait', 'skip')),
    person TEXT NOT NULL,
    agreed_to TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    looked_at DOUBLE PRECISION NOT NULL,
    removed_at DOUBLE PRECISION,
    PRIMARY KEY (account, name)
);
CREATE TABLE nights (
    account TEXT NOT NULL,
    schedule TEXT NOT NULL,
    due DOUBLE PRECISION NOT NULL,
    run TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('begun', 'refused', 'missed')),
    reason TEXT NOT NULL,
    noted_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, schedule, due),
    FOREIGN KEY (account, schedule) REFERENCES schedules (account, name)
);
"""


def _compared_by_bytes(tables: str) -> str:
    return tables.replace(" TEXT", ' TEXT COLLATE "C"')


STEPS: tuple[str, ...] = (_compared_by_bytes(_TABLES) + _AS_IN_SQLITE, _compared_by_bytes(_SCHEDULES))
"""The first step leads to version `FIRST`, each further one to the next. Texts compare byte by byte, as in a file: then
a range of names holds what begins with the name."""
FIRST = 6
VERSION = FIRST + len(STEPS) - 1
"""Counted apart from that of a file: what only a team has is no reason to refuse a file."""

WORKERS_MAY = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
REVOKE INSERT, UPDATE, DELETE ON {schema}.team_ceilings, {schema}.ledger_version FROM {role};
REVOKE DELETE ON {schema}.jobs, {schema}.generations FROM {role};
"""
