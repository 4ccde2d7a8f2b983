-- Ready jobs with a concurrency key stand in indexes of their own. Never edit this file: add another.

-- So those without one are claimed as if the others were not there, however many of these wait behind one key.
DROP INDEX treadle_job_ready;
DROP INDEX treadle_job_ready_in_queue;
CREATE INDEX treadle_job_ready ON treadle_job (pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NULL;
CREATE INDEX treadle_job_ready_in_queue ON treadle_job (queue, pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NULL;

-- In the order of the claim, and, beside treadle_job_ready_with_key, key by key.
CREATE INDEX treadle_job_urgent_with_key ON treadle_job (pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NOT NULL;
CREATE INDEX treadle_job_urgent_with_key_in_queue ON treadle_job (queue, pool, priority DESC, run_at, id)
    WHERE state = 'ready' AND concurrency_key IS NOT NULL;
CREATE INDEX treadle_job_ready_with_key_in_queue ON treadle_job (queue, pool, concurrency_key, priority DESC, run_at, id)
    WHERE concurrency_key IS NOT NULL AND state = 'ready';
