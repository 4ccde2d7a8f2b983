CREATE TABLE treadle_attempt (
    job_id TEXT NOT NULL REFERENCES treadle_job (id) ON DELETE CASCADE,
    token INTEGER NOT NULL,
    number INTEGER NOT NULL,
    worker_id TEXT NOT NULL,
    started_at INTEGER,
    ended_at INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error_class TEXT,
    error_message TEXT,
    error_traceback TEXT,
    PRIMARY KEY (job_id, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_job (
    id TEXT PRIMARY KEY NOT NULL CHECK (length(id) BETWEEN 1 AND 63),
    kind TEXT NOT NULL CHECK (kind = 'call' OR kind = 'part' OR kind = 'whole'),
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    pool TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
    state TEXT NOT NULL
        CHECK (state = 'ready' OR state = 'running' OR state = 'succeeded' OR state = 'scheduled' OR state = 'blocked'
               OR state = 'failed' OR state = 'cancelled'),
    run_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    max_crashes INTEGER NOT NULL,
    token INTEGER NOT NULL,
    worker_id TEXT,
    enqueued_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    group_id TEXT,
    part INTEGER NOT NULL,
    size INTEGER NOT NULL,
    alias TEXT NOT NULL,
    labels TEXT NOT NULL,
    headers TEXT NOT NULL,
    payload TEXT NOT NULL,
    result TEXT,
    failure TEXT,
    version INTEGER NOT NULL, timeout_s REAL, memory_mb REAL, cores INTEGER, cancel_requested_at INTEGER, unique_key TEXT, concurrency_key TEXT, expires_at INTEGER, result_ttl INTEGER, redriven_at INTEGER,
    CHECK ((state = 'succeeded' OR state = 'failed' OR state = 'cancelled') = (finished_at IS NOT NULL)),
    CHECK ((state = 'running') = (worker_id IS NOT NULL)),
    CHECK (state <> 'running' OR token > 0),
    CHECK (state = 'succeeded' OR result IS NULL)
) STRICT;

CREATE TABLE treadle_message (
    job_id TEXT NOT NULL REFERENCES treadle_job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    sent_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_meta (
    name TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_paused_queue (
    name TEXT PRIMARY KEY NOT NULL,
    paused_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_progress (
    job_id TEXT PRIMARY KEY NOT NULL REFERENCES treadle_job (id) ON DELETE CASCADE,
    done REAL NOT NULL,
    total REAL,
    message TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_schedule (
    name TEXT PRIMARY KEY NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    task TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    last_job_id TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_worker (
    id TEXT PRIMARY KEY NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('process', 'embedded')),
    queues TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX treadle_job_exclusive ON treadle_job (concurrency_key)
    WHERE concurrency_key IS NOT NULL AND state = 'running';

CREATE INDEX treadle_job_expiring ON treadle_job (expires_at) WHERE expires_at IS NOT NULL AND finished_at IS NULL;

CREATE INDEX treadle_job_finished ON treadle_job (finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX treadle_job_group ON treadle_job (group_id, part) WHERE group_id IS NOT NULL;

CREATE INDEX treadle_job_group_open ON treadle_job (group_id) WHERE group_id IS NOT NULL AND finished_at IS NULL;

CREATE INDEX treadle_job_ready ON treadle_job (pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NULL;

CREATE INDEX treadle_job_ready_in_queue ON treadle_job (queue, pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NULL;

CREATE INDEX treadle_job_ready_with_key ON treadle_job (pool, concurrency_key, priority DESC, run_at, id)
    WHERE concurrency_key IS NOT NULL AND state = 'ready';

CREATE INDEX treadle_job_ready_with_key_in_queue ON treadle_job (queue, pool, concurrency_key, priority DESC, run_at, id)
    WHERE concurrency_key IS NOT NULL AND state = 'ready';

CREATE INDEX treadle_job_result_expiring ON treadle_job (finished_at + result_ttl)
    WHERE result_ttl IS NOT NULL AND result IS NOT NULL;

CREATE INDEX treadle_job_running ON treadle_job (worker_id) WHERE state = 'running';

CREATE INDEX treadle_job_scheduled ON treadle_job (run_at) WHERE state = 'scheduled';

CREATE INDEX treadle_job_to_cancel ON treadle_job (worker_id) WHERE state = 'running' AND cancel_requested_at IS NOT NULL;

CREATE UNIQUE INDEX treadle_job_unique ON treadle_job (task, unique_key)
    WHERE unique_key IS NOT NULL AND finished_at IS NULL;

CREATE INDEX treadle_job_urgent_with_key ON treadle_job (pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NOT NULL;

CREATE INDEX treadle_job_urgent_with_key_in_queue ON treadle_job (queue, pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NOT NULL;

