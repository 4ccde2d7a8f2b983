-- Keys, expiry, what a redrive leaves, paused queues and schedules. Never edit this file: add another.

ALTER TABLE treadle_job ADD COLUMN unique_key TEXT;
ALTER TABLE treadle_job ADD COLUMN concurrency_key TEXT;
ALTER TABLE treadle_job ADD COLUMN expires_at INTEGER;
ALTER TABLE treadle_job ADD COLUMN result_ttl INTEGER;
ALTER TABLE treadle_job ADD COLUMN redriven_at INTEGER;

-- What must never be false, whoever writes: of jobs with one unique key a single one is unfinished, and of those with
-- one concurrency key a single one runs.
CREATE UNIQUE INDEX treadle_job_unique ON treadle_job (task, unique_key)
    WHERE unique_key IS NOT NULL AND finished_at IS NULL;
CREATE UNIQUE INDEX treadle_job_exclusive ON treadle_job (concurrency_key)
    WHERE concurrency_key IS NOT NULL AND state = 'running';

CREATE INDEX treadle_job_ready_with_key ON treadle_job (pool, concurrency_key, priority DESC, run_at, id)
    WHERE concurrency_key IS NOT NULL AND state = 'ready';
CREATE INDEX treadle_job_expiring ON treadle_job (expires_at) WHERE expires_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX treadle_job_result_expiring ON treadle_job (finished_at + result_ttl)
    WHERE result_ttl IS NOT NULL AND result IS NOT NULL;

-- Each row is a queue whose jobs are not claimed.
CREATE TABLE treadle_paused_queue (
    name TEXT PRIMARY KEY NOT NULL,
    paused_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE treadle_schedule (
    name TEXT PRIMARY KEY NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    task TEXT NOT NULL,
    -- The time that was last seen to: at first that of its making. Who moves it on sends the job.
    seen_at INTEGER NOT NULL,
    last_job_id TEXT
) STRICT, WITHOUT ROWID;
