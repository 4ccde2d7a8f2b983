-- The tables of the job store. Times are microseconds since 1970, UTC. Never edit this file: add another.
-- Names are compared byte by byte (COLLATE "C"): that is quicker, and the same whatever the database's language is.

CREATE TABLE treadle_meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE treadle_job (
    id TEXT COLLATE "C" PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 63),
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('call', 'part', 'whole')),
    task TEXT COLLATE "C" NOT NULL,
    queue TEXT COLLATE "C" NOT NULL,
    pool TEXT COLLATE "C" NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
    state TEXT COLLATE "C" NOT NULL
        CHECK (state IN ('blocked', 'scheduled', 'ready', 'running', 'succeeded', 'failed', 'cancelled')),
    run_at BIGINT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL DEFAULT 0,
    max_crashes INTEGER NOT NULL,
    token BIGINT NOT NULL DEFAULT 0,
    worker_id TEXT COLLATE "C",
    enqueued_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    group_id TEXT COLLATE "C",
    part INTEGER NOT NULL,
    size INTEGER NOT NULL,
    alias TEXT NOT NULL,
    labels JSONB NOT NULL,
    headers TEXT NOT NULL,
    payload TEXT NOT NULL,
    result TEXT,
    failure TEXT,
    version BIGINT NOT NULL DEFAULT 1,
    -- What must never be false, whoever writes.
    CONSTRAINT treadle_job_finished_has_end
        CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CONSTRAINT treadle_job_running_has_worker CHECK ((state = 'running') = (worker_id IS NOT NULL)),
    CONSTRAINT treadle_job_running_has_token CHECK (state <> 'running' OR token > 0),
    CONSTRAINT treadle_job_result_of_success CHECK (state = 'succeeded' OR result IS NULL)
) WITH (
    -- Each job is rewritten two or three times in its life: room for that in its own page, and a vacuum that comes
    -- after some thousand jobs however many are kept.
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.02,
    autovacuum_analyze_threshold = 1000
);

-- The claim, for a worker that serves all queues and for one that serves some. Only ready jobs are in
-- them, so they are as small as the backlog whatever is kept of finished jobs.
CREATE INDEX treadle_job_ready ON treadle_job (pool, priority DESC, run_at, id) WHERE state = 'ready';
CREATE INDEX treadle_job_ready_in_queue ON treadle_job (queue, pool, priority DESC, run_at, id) WHERE state = 'ready';
CREATE INDEX treadle_job_scheduled ON treadle_job (run_at) WHERE state = 'scheduled';
CREATE INDEX treadle_job_running ON treadle_job (worker_id) WHERE state = 'running';
CREATE INDEX treadle_job_finished ON treadle_job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX treadle_job_group ON treadle_job (group_id, part) WHERE group_id IS NOT NULL;
CREATE INDEX treadle_job_group_open ON treadle_job (group_id) WHERE group_id IS NOT NULL AND finished_at IS NULL;

CREATE TABLE treadle_attempt (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES treadle_job (id) ON DELETE CASCADE,
    token BIGINT NOT NULL,
    number INTEGER NOT NULL,
    worker_id TEXT COLLATE "C" NOT NULL,
    started_at BIGINT,
    ended_at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    error_class TEXT,
    error_message TEXT,
    error_traceback TEXT,
    PRIMARY KEY (job_id, token)
);

CREATE TABLE treadle_progress (
    job_id TEXT COLLATE "C" PRIMARY KEY REFERENCES treadle_job (id) ON DELETE CASCADE,
    done DOUBLE PRECISION NOT NULL,
    total DOUBLE PRECISION,
    message TEXT NOT NULL,
    version BIGINT NOT NULL
) WITH (
    -- Rewritten ten times a second for each job that reports.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE treadle_message (
    job_id TEXT COLLATE "C" NOT NULL REFERENCES treadle_job (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    sent_at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (job_id, number)
);

CREATE TABLE treadle_worker (
    id TEXT COLLATE "C" PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('process', 'embedded')),
    queues TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
) WITH (
    -- A few rows, each rewritten every few seconds.
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 200
);
