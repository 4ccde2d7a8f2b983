-- What a run may use, and the wish to cancel a job that runs. Never edit this file: add another.

ALTER TABLE treadle_job ADD COLUMN timeout_s DOUBLE PRECISION;
ALTER TABLE treadle_job ADD COLUMN memory_mb DOUBLE PRECISION;
ALTER TABLE treadle_job ADD COLUMN cores INTEGER;
ALTER TABLE treadle_job ADD COLUMN cancel_requested_at BIGINT;

-- What a worker looks for again and again, and finds empty nearly always.
CREATE INDEX treadle_job_to_cancel ON treadle_job (worker_id) WHERE state = 'running' AND cancel_requested_at IS NOT NULL;
