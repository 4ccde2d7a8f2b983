-- Every statement of the PostgreSQL store. `-- name:` begins a statement, with a line of purpose;
-- `-- fragment:` begins text that statements share as {its name}.
--
-- Lists come as one JSON text, which the server takes apart, so that a statement is the same for any number of jobs.
-- States are literals: with a parameter in their place no partial index could be used. Rows are locked in the order of
-- their ids, and the parts of a whole before the whole, so that nobody waits for somebody who waits for them.

-- fragment: inserting
-- Makes new jobs, and the progress of the wholes among them.
WITH inserted AS (
    {insertions}
    RETURNING id, kind, size
), {counted}

-- fragment: insertions
-- New jobs, inserted in the order in which they are given.
INSERT INTO treadle_job ({sent})
SELECT id, kind, task, queue, pool, priority, state, run_at, max_attempts, max_crashes, timeout_s, memory_mb, cores,
       enqueued_at, group_id, part, size, alias, labels::jsonb, headers, payload, unique_key, concurrency_key,
       expires_at, result_ttl
FROM json_to_recordset(%(jobs)s::json) AS sent (
    id text, kind text, task text, queue text, pool text, priority integer, state text, run_at bigint,
    max_attempts integer, max_crashes integer, timeout_s double precision, memory_mb double precision,
    cores integer, enqueued_at bigint, group_id text, part integer, size integer, alias text, labels text,
    headers text, payload text, unique_key text, concurrency_key text, expires_at bigint, result_ttl bigint)

-- fragment: counted
-- Makes the progress of the wholes among those `inserted`.
counted AS (
    INSERT INTO treadle_progress (job_id, done, total, message, version)
    SELECT id, 0, size, '', 0 FROM inserted WHERE kind = 'whole'
)

-- fragment: insertion
-- A new job that is not a whole: quicker than as a list of one.
INSERT INTO treadle_job ({sent})
VALUES (%(id)s, %(kind)s, %(task)s, %(queue)s, %(pool)s, %(priority)s, %(state)s, %(run_at)s, %(max_attempts)s,
        %(max_crashes)s, %(timeout_s)s, %(memory_mb)s, %(cores)s, %(enqueued_at)s, %(group_id)s, %(part)s, %(size)s,
        %(alias)s, %(labels)s, %(headers)s, %(payload)s, %(unique_key)s, %(concurrency_key)s, %(expires_at)s,
        %(result_ttl)s)

-- fragment: claimer
-- The worker that claims, held until the end of the transaction so that no rescue can forget it meanwhile; nothing if it
-- is not known, or just being rescued: nobody would rescue what it claims now.
claimer AS MATERIALIZED (
    SELECT id FROM treadle_worker WHERE id = %(worker_id)s FOR KEY SHARE SKIP LOCKED
)

-- fragment: chosen
-- Chooses of the `urgent` jobs all where they start at once, else those before the first that may run at most once: from
-- there on no job may wait in a pool, or it would pass by one that may not.
chosen AS MATERIALIZED (
    SELECT id FROM (
        SELECT id, min(max_crashes) OVER (ORDER BY priority DESC, run_at, id) AS least_crashes FROM urgent
    ) AS candidate WHERE %(starts)s OR least_crashes > 0
)

-- fragment: taken
-- Makes the jobs `chosen` running, and gives them in the order of the claim.
taken AS (
    UPDATE treadle_job AS job
    SET state = 'running', token = token + 1, attempt = attempt + 1, worker_id = %(worker_id)s, version = version + 1,
        started_at = CASE WHEN %(starts)s THEN %(now)s::bigint END
    FROM chosen WHERE job.id = chosen.id
    RETURNING job.*
)
SELECT {job} FROM taken AS job ORDER BY job.priority DESC, job.run_at, job.id

-- fragment: is_in_time
-- Whether a job may begin now: the duty that fails the others may be late.
(expires_at IS NULL OR expires_at > %(now)s)

-- fragment: is_forgettable
-- Whether the result of a job was kept long enough. That of a part goes with its whole's.
finished_at + result_ttl <= %(now)s AND result_ttl IS NOT NULL AND result IS NOT NULL AND group_id IS NULL

-- fragment: as_new
-- What a redrive sets beside the state: one attempt more where none is left, and the rest as of a new job.
run_at = %(now)s, max_attempts = greatest(max_attempts, attempt + 1), crashes = 0, started_at = NULL, finished_at = NULL,
cancel_requested_at = NULL, expires_at = NULL, failure = NULL, redriven_at = %(now)s, version = version + 1

-- fragment: ready_queue
-- The queues with ready jobs that have no concurrency key, found one from another in the index.
ready_queue (name) AS (
    (SELECT queue FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM treadle_job
            WHERE state = 'ready' AND concurrency_key IS NULL AND queue > ready_queue.name ORDER BY queue LIMIT 1)
    FROM ready_queue WHERE name IS NOT NULL
)

-- fragment: is_taken
-- Whether a job with the key of this `job` runs. With OFFSET it is looked up key by key; else the planner may read all
-- that has run since the last vacuum.
EXISTS (
    SELECT 1 FROM treadle_job AS other
    WHERE other.concurrency_key = job.concurrency_key AND other.state = 'running' OFFSET 0)

-- fragment: fits
-- Whether a job is one that a query asks for.
(%(state)s::text IS NULL OR job.state = %(state)s) AND (%(task)s::text IS NULL OR job.task = %(task)s)
AND (%(queue)s::text IS NULL OR job.queue = %(queue)s) AND job.labels @> %(labels)s::jsonb

-- fragment: is_old
-- Whether a job is one that may be deleted. A part stays until its whole has ended.
finished_at IS NOT NULL
AND finished_at < CASE state WHEN 'succeeded' THEN %(succeeded_before)s ELSE %(failed_before)s END
AND finished_at < greatest(%(succeeded_before)s, %(failed_before)s)
AND NOT EXISTS (SELECT 1 FROM treadle_job AS whole WHERE whole.id = job.group_id AND whole.finished_at IS NULL)

-- fragment: job
-- The columns of a Job, in the order in which treadle.store.rows reads them.
job.id, job.kind, job.task, job.queue, job.pool, job.priority, job.state, job.run_at, job.attempt, job.max_attempts,
job.crashes, job.max_crashes, job.token, job.worker_id, job.enqueued_at, job.started_at, job.finished_at, job.group_id,
job.part, job.size, job.alias, job.labels::text, job.headers, job.payload, job.result, job.failure, job.timeout_s,
job.memory_mb, job.cores, job.cancel_requested_at, job.unique_key, job.concurrency_key, job.expires_at, job.result_ttl,
job.redriven_at, job.version

-- fragment: sent
-- The columns that a sender sets, in the order in which treadle.store.rows gives them.
id, kind, task, queue, pool, priority, state, run_at, max_attempts, max_crashes, timeout_s, memory_mb, cores,
enqueued_at, group_id, part, size, alias, labels, headers, payload, unique_key, concurrency_key, expires_at, result_ttl

-- fragment: held
-- Those of the claims `given` that still hold, locked. Who has a worker is running, as the table guarantees; asked for
-- in these words the rows are looked up by their ids, and not in the index of all that ran since the last vacuum.
held AS MATERIALIZED (
    SELECT job.id, job.token FROM treadle_job AS job JOIN given ON given.id = job.id AND given.token = job.token
    WHERE job.worker_id IS NOT NULL ORDER BY job.id FOR NO KEY UPDATE OF job
)

-- name: has_tables
-- Whether there are tables of ours where this connection looks.
SELECT to_regclass('treadle_meta') IS NOT NULL;

-- name: lock_schema
-- One process migrates at a time.
LOCK TABLE treadle_meta IN SHARE ROW EXCLUSIVE MODE;

-- name: note_migration
-- How far the tables were migrated.
INSERT INTO treadle_meta (name, value) VALUES ('schema_version', %(number)s), ('min_code_version', '1')
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.name = 'schema_version';

-- name: get_meta
-- One fact about the store itself.
SELECT value FROM treadle_meta WHERE name = %(name)s;

-- name: set_meta
-- Keep a fact, unless it is already there.
INSERT INTO treadle_meta (name, value) VALUES (%(name)s, %(value)s) ON CONFLICT (name) DO NOTHING;

-- name: get_isolation_level
-- That of the transaction that is open.
SELECT current_setting('transaction_isolation');

-- name: insert_job
-- A new job that is not a whole.
{insertion};

-- name: insert_job_and_tell
-- A new job that is not a whole; who waits is told.
WITH inserted AS ({insertion}) SELECT pg_notify('treadle', '');

-- name: insert_jobs
-- New jobs, and the progress of the wholes among them.
{inserting} SELECT 1;

-- name: insert_jobs_and_tell
-- New jobs, and the progress of the wholes among them; who waits is told.
{inserting} SELECT pg_notify('treadle', '');

-- name: insert_unique_jobs
-- Of new jobs those whose keys no unfinished job of their task has, nor one before them in the list; gives their ids.
-- The condition is that of the index, word for word. Who inserts one of the keys just now is waited for.
WITH inserted AS (
    {insertions}
    ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL DO NOTHING
    RETURNING id, kind, size
), {counted}
SELECT id FROM inserted;

-- name: get_unique
-- The unfinished jobs of these tasks with these keys, with their progress.
SELECT {job}, progress.done, progress.total, progress.message, progress.version
FROM json_to_recordset(%(keys)s::json) AS given (task text, unique_key text)
JOIN treadle_job AS job ON job.task = given.task AND job.unique_key = given.unique_key
LEFT JOIN treadle_progress AS progress ON progress.job_id = job.id
WHERE job.unique_key IS NOT NULL AND job.finished_at IS NULL;

-- name: copy_jobs
-- Many new jobs.
COPY treadle_job ({sent}) FROM STDIN;

-- name: insert_progress
-- The progress of wholes, counted by the store as their parts end.
INSERT INTO treadle_progress (job_id, done, total, message, version)
SELECT id, 0, size, '', 0 FROM treadle_job WHERE id = ANY(%(ids)s) AND kind = 'whole';

-- name: get_family
-- Of jobs and the open parts of the wholes among them, which are wholes.
SELECT id, kind = 'whole' FROM treadle_job WHERE id = ANY(%(ids)s)
UNION SELECT id, false FROM treadle_job WHERE group_id = ANY(%(ids)s) AND finished_at IS NULL;

-- name: cancel
-- Cancel those of these jobs that have not started, and ask the workers of those that run to end them.
WITH open AS MATERIALIZED (
    SELECT id FROM treadle_job WHERE id = ANY(%(ids)s) AND finished_at IS NULL ORDER BY id FOR NO KEY UPDATE
)
UPDATE treadle_job AS job
SET state = CASE state WHEN 'running' THEN state ELSE 'cancelled' END,
    finished_at = CASE state WHEN 'running' THEN NULL ELSE %(now)s::bigint END,
    cancel_requested_at = CASE state WHEN 'running' THEN coalesce(cancel_requested_at, %(now)s::bigint) END,
    version = version + (cancel_requested_at IS NULL)::integer
FROM open WHERE job.id = open.id
RETURNING job.id, job.group_id, job.state;

-- name: lock_jobs
-- Nobody else changes these jobs until this transaction ends.
SELECT id FROM treadle_job WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE;

-- name: lock_parts
-- Nobody ends, prunes or sends a part of these wholes until this transaction ends.
SELECT id FROM treadle_job WHERE group_id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE;

-- name: redrive
-- Send a job once more, unless it was forgotten or its unique key is taken; a whole only where none of its parts runs, was
-- forgotten or has left no result.
UPDATE treadle_job AS job
SET state = CASE WHEN kind = 'whole' AND EXISTS (
        SELECT 1 FROM treadle_job AS part WHERE part.group_id = %(id)s AND part.state IN ('failed', 'cancelled')
    ) THEN 'blocked' ELSE 'ready' END, {as_new}
WHERE id = %(id)s AND state IN ('failed', 'cancelled') AND group_id IS NULL AND payload <> ''
  AND (kind <> 'whole' OR size = (
      SELECT coalesce(sum(part.size), 0) FROM treadle_job AS part
      WHERE part.group_id = %(id)s AND part.payload <> ''
        AND (part.state IN ('failed', 'cancelled') OR part.result IS NOT NULL)))
  AND NOT EXISTS (
      SELECT 1 FROM treadle_job AS other
      WHERE other.task = job.task AND other.unique_key = job.unique_key
        AND other.unique_key IS NOT NULL AND other.finished_at IS NULL)
RETURNING id;

-- name: redrive_parts
-- Send those parts of a whole once more that did not succeed.
UPDATE treadle_job SET state = 'ready', {as_new} WHERE group_id = %(id)s AND state IN ('failed', 'cancelled');

-- name: restart_progress
-- The progress of what was sent once more: of a whole, what its parts that have succeeded count; of others none.
UPDATE treadle_progress
SET done = (SELECT coalesce(sum(part.size), 0) FROM treadle_job AS part
            WHERE part.group_id = job_id AND part.state = 'succeeded'),
    total = (SELECT CASE kind WHEN 'whole' THEN size END FROM treadle_job WHERE id = job_id),
    message = '', version = version + 1
WHERE job_id = %(id)s OR job_id IN (SELECT id FROM treadle_job WHERE group_id = %(id)s AND finished_at IS NULL);

-- name: get_cancel_requests
-- What a worker runs and somebody has asked to cancel.
SELECT id, token FROM treadle_job
WHERE state = 'running' AND cancel_requested_at IS NOT NULL AND worker_id = %(worker_id)s;

-- name: lock_to_be_cancelled
-- Of these jobs, all locked, those that somebody has asked to cancel.
WITH locked AS MATERIALIZED (
    SELECT id, cancel_requested_at FROM treadle_job WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE
)
SELECT id FROM locked WHERE cancel_requested_at IS NOT NULL;

-- name: get_jobs
-- Jobs by id, with their progress.
SELECT {job}, progress.done, progress.total, progress.message, progress.version
FROM treadle_job AS job LEFT JOIN treadle_progress AS progress ON progress.job_id = job.id
WHERE job.id = ANY(%(ids)s);

-- name: find_newest
-- Jobs that fit, the newest first: ids sort by time.
SELECT {job}, progress.done, progress.total, progress.message, progress.version
FROM treadle_job AS job LEFT JOIN treadle_progress AS progress ON progress.job_id = job.id
WHERE {fits} ORDER BY job.enqueued_at DESC, job.id DESC LIMIT %(limit)s;

-- name: find_oldest
-- Jobs that fit, in the order in which they were sent.
SELECT {job}, progress.done, progress.total, progress.message, progress.version
FROM treadle_job AS job LEFT JOIN treadle_progress AS progress ON progress.job_id = job.id
WHERE {fits} ORDER BY job.enqueued_at, job.id LIMIT %(limit)s;

-- name: get_attempts
-- The ended runs of jobs, oldest first.
SELECT job_id, number, worker_id, started_at, ended_at, outcome, error_class, error_message, error_traceback
FROM treadle_attempt WHERE job_id = ANY(%(ids)s) ORDER BY job_id, token;

-- name: get_messages
-- What a job sent after a number.
SELECT number, sent_at, body FROM treadle_message WHERE job_id = %(id)s AND number > %(after)s ORDER BY number;

-- name: get_part_results
-- The results of the parts of wholes, in the order of the parts.
SELECT group_id, result FROM treadle_job
WHERE group_id = ANY(%(ids)s) AND result IS NOT NULL ORDER BY group_id, part;

-- name: get_parts
-- How the parts of a whole stand, in their order.
SELECT state, size, started_at, finished_at FROM treadle_job WHERE group_id = %(id)s ORDER BY part;

-- name: count_jobs
-- How many jobs each queue has in each state.
SELECT queue, state, count(*) FROM treadle_job GROUP BY queue, state;

-- name: is_work_ready
-- Whether jobs without and with a concurrency key are ready, were no queue paused, and whether any is.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NULL AND pool = %(pool)s),
       EXISTS (SELECT 1 FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NOT NULL AND pool = %(pool)s),
       EXISTS (SELECT 1 FROM treadle_paused_queue);

-- name: get_shares
-- Of the most urgent jobs without a concurrency key that a claim may take, how many each queue holds; 0 for one whose jobs
-- are less urgent. It jumps from queue to queue in the index, so that the jobs of a paused one are not read.
WITH RECURSIVE {ready_queue}
SELECT queue, count(*) FILTER (WHERE place <= %(limit)s) FROM (
    SELECT job.queue, row_number() OVER (ORDER BY job.priority DESC, job.run_at, job.id) AS place
    FROM ready_queue CROSS JOIN LATERAL (
        SELECT queue, priority, run_at, id FROM treadle_job
        WHERE state = 'ready' AND concurrency_key IS NULL AND queue = ready_queue.name AND pool = %(pool)s
          AND {is_in_time}
        ORDER BY priority DESC, run_at, id LIMIT %(limit)s
    ) AS job
    WHERE NOT EXISTS (SELECT 1 FROM treadle_paused_queue AS paused WHERE paused.name = ready_queue.name)
) AS candidate GROUP BY queue;

-- name: get_open_queues
-- The queues with ready jobs, with or without a concurrency key, that are not paused.
WITH RECURSIVE {ready_queue}, keyed_queue (name) AS (
    (SELECT queue FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NOT NULL ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM treadle_job
            WHERE state = 'ready' AND concurrency_key IS NOT NULL AND queue > keyed_queue.name ORDER BY queue LIMIT 1)
    FROM keyed_queue WHERE name IS NOT NULL
)
SELECT name FROM (SELECT name FROM ready_queue UNION SELECT name FROM keyed_queue) AS ready
WHERE name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue AS paused WHERE paused.name = ready.name);

-- name: claim
-- Take ready jobs of any queue that have no concurrency key, but those that another worker takes just now, where no queue
-- is paused. What does not start at once ends before the first that may run at most once.
WITH {claimer}, urgent AS MATERIALIZED (
    SELECT id, priority, run_at, max_crashes FROM treadle_job
    WHERE EXISTS (SELECT 1 FROM claimer) AND state = 'ready' AND concurrency_key IS NULL AND pool = %(pool)s
      AND {is_in_time} AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue)
    ORDER BY priority DESC, run_at, id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), {chosen}, {taken};

-- name: claim_in_queue
-- The same of one queue, unless it is paused.
WITH {claimer}, urgent AS MATERIALIZED (
    SELECT id, priority, run_at, max_crashes FROM treadle_job
    WHERE EXISTS (SELECT 1 FROM claimer) AND state = 'ready' AND concurrency_key IS NULL AND queue = %(queue)s
      AND pool = %(pool)s AND {is_in_time}
      AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue WHERE name = %(queue)s)
    ORDER BY priority DESC, run_at, id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), {chosen}, {taken};

-- name: get_urgent_without_key
-- The most urgent ready jobs that have no concurrency key, and whether they may wait in a pool.
SELECT id, priority, run_at, max_crashes > 0 FROM treadle_job
WHERE state = 'ready' AND concurrency_key IS NULL AND pool = %(pool)s AND {is_in_time}
ORDER BY priority DESC, run_at, id LIMIT %(limit)s;

-- name: get_urgent_without_key_in_queue
-- The same of one queue, unless it is paused.
SELECT id, priority, run_at, max_crashes > 0 FROM treadle_job
WHERE state = 'ready' AND concurrency_key IS NULL AND queue = %(queue)s AND pool = %(pool)s AND {is_in_time}
  AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue WHERE name = %(queue)s)
ORDER BY priority DESC, run_at, id LIMIT %(limit)s;

-- name: get_urgent_with_key
-- The most urgent ready jobs that have a concurrency key, and whether it is taken.
SELECT id, priority, run_at, false, concurrency_key, {is_taken} FROM treadle_job AS job
WHERE state = 'ready' AND concurrency_key IS NOT NULL AND pool = %(pool)s AND {is_in_time}
ORDER BY priority DESC, run_at, id LIMIT %(near)s;

-- name: get_urgent_with_key_in_queue
-- The same of one queue, unless it is paused.
SELECT id, priority, run_at, false, concurrency_key, {is_taken} FROM treadle_job AS job
WHERE state = 'ready' AND concurrency_key IS NOT NULL AND queue = %(queue)s AND pool = %(pool)s AND {is_in_time}
  AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue WHERE name = %(queue)s)
ORDER BY priority DESC, run_at, id LIMIT %(near)s;

-- name: get_first_of_keys
-- The most urgent ready job of each of the next concurrency keys after one, in their order, and whether it is taken.
-- Each key is found from the one before, so that nothing is read of the many jobs that may wait behind it.
WITH RECURSIVE waiting AS (
    SELECT 1 AS place, first.* FROM (
        SELECT concurrency_key, id, priority, run_at FROM treadle_job AS job
        WHERE state = 'ready' AND concurrency_key > %(after_key)s AND pool = %(pool)s AND {is_in_time}
        ORDER BY concurrency_key, priority DESC, run_at, id LIMIT 1) AS first
    UNION ALL
    SELECT place + 1, next.* FROM waiting, LATERAL (
        SELECT job.concurrency_key, job.id, job.priority, job.run_at FROM treadle_job AS job
        WHERE state = 'ready' AND job.concurrency_key > waiting.concurrency_key AND pool = %(pool)s
          AND {is_in_time}
        ORDER BY job.concurrency_key, job.priority DESC, job.run_at, job.id LIMIT 1) AS next
    WHERE place < %(far)s
)
SELECT id, priority, run_at, false, concurrency_key, {is_taken} FROM waiting AS job ORDER BY place;

-- name: get_first_of_keys_in_queue
-- The same of one queue, unless it is paused.
WITH RECURSIVE waiting AS (
    SELECT 1 AS place, first.* FROM (
        SELECT concurrency_key, id, priority, run_at FROM treadle_job AS job
        WHERE state = 'ready' AND concurrency_key > %(after_key)s AND queue = %(queue)s AND pool = %(pool)s
          AND {is_in_time}
        ORDER BY concurrency_key, priority DESC, run_at, id LIMIT 1) AS first
    UNION ALL
    SELECT place + 1, next.* FROM waiting, LATERAL (
        SELECT job.concurrency_key, job.id, job.priority, job.run_at FROM treadle_job AS job
        WHERE state = 'ready' AND job.concurrency_key > waiting.concurrency_key
          AND queue = %(queue)s AND pool = %(pool)s AND {is_in_time}
        ORDER BY job.concurrency_key, job.priority DESC, job.run_at, job.id LIMIT 1) AS next
    WHERE place < %(far)s
)
SELECT id, priority, run_at, false, concurrency_key, {is_taken} FROM waiting AS job
WHERE NOT EXISTS (SELECT 1 FROM treadle_paused_queue WHERE name = %(queue)s) ORDER BY place;

-- name: lock_keys
-- Those of these concurrency keys with which nobody else is claiming just now, nor will until this transaction ends.
-- The lock is an advisory one, since it is a key that is locked and not a row, and one of the transaction: it is gone
-- with it, nothing stays in the session, and PgBouncer may stand between. The table's own number keeps the locks of
-- several schemas apart.
SELECT key FROM unnest(%(concurrency_keys)s::text[]) AS given (key)
WHERE pg_try_advisory_xact_lock(hashtextextended(key, 'treadle_job'::regclass::oid::bigint));

-- name: claim_chosen
-- Take these ready jobs, but those that another worker takes just now. The keys of those that have one are locked, by a
-- statement before this one: so this one sees what was committed before that, and no job that runs with such a key is
-- hidden from it.
WITH {claimer}, chosen AS MATERIALIZED (
    SELECT id FROM treadle_job AS job
    WHERE EXISTS (SELECT 1 FROM claimer) AND id = ANY(%(ids)s) AND state = 'ready' AND {is_in_time}
      AND NOT {is_taken} AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue WHERE name = job.queue)
    FOR NO KEY UPDATE OF job SKIP LOCKED
), {taken};

-- name: mark_started
-- Prefetched jobs were started.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(claims)s::json) AS given (id text, token bigint, started_at bigint)
), {held}
UPDATE treadle_job AS job SET started_at = given.started_at, version = version + 1
FROM given JOIN held USING (id, token) WHERE job.id = held.id;

-- name: release
-- Give back jobs that were claimed and never started; those that were to be cancelled meanwhile are cancelled.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(claims)s::json) AS given (id text, token bigint)
), {held}
UPDATE treadle_job AS job
SET state = CASE WHEN cancel_requested_at IS NULL THEN 'ready' ELSE 'cancelled' END,
    finished_at = CASE WHEN cancel_requested_at IS NOT NULL THEN %(now)s::bigint END,
    attempt = attempt - 1, worker_id = NULL, started_at = NULL, version = version + 1
FROM held WHERE job.id = held.id
RETURNING job.group_id, job.state;

-- name: finish
-- Apply the ends of runs whose claims still hold, with an attempt for each, and give these claims.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(endings)s::json) AS given (
        id text, token bigint, state text, run_at bigint, attempt integer, crashes integer, started_at bigint,
        finished_at bigint, result text, failure text)
), {held}, ended AS (
    UPDATE treadle_job AS job
    SET state = given.state, run_at = given.run_at, attempt = given.attempt, crashes = given.crashes, worker_id = NULL,
        started_at = given.started_at, finished_at = given.finished_at, result = given.result,
        failure = given.failure, version = version + 1
    FROM given JOIN held USING (id, token) WHERE job.id = held.id
), noted AS (
    INSERT INTO treadle_attempt (job_id, token, number, worker_id, started_at, ended_at, outcome,
                                 error_class, error_message, error_traceback)
    SELECT run.* FROM json_to_recordset(%(attempts)s::json) AS run (
        id text, token bigint, number integer, worker_id text, started_at bigint, ended_at bigint, outcome text,
        error_class text, error_message text, error_traceback text)
    JOIN held USING (id, token)
)
SELECT id, token FROM held;

-- name: lock_wholes
-- Nobody else counts the parts of these wholes until this transaction ends: else two that end its last two parts at
-- once would each see the other's as open, and none would unblock it. Gives those that still wait.
SELECT id FROM treadle_job WHERE id = ANY(%(ids)s) AND state = 'blocked' ORDER BY id FOR NO KEY UPDATE;

-- name: advance_wholes
-- Parts have succeeded: their items count as done.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(sizes)s::json) AS given (id text, size bigint)
)
UPDATE treadle_progress AS progress SET done = done + given.size, version = version + 1
FROM given WHERE progress.job_id = given.id;

-- name: get_complete_wholes
-- Those of these wholes whose parts have all ended.
SELECT whole.id FROM treadle_job AS whole
WHERE whole.id = ANY(%(ids)s) AND whole.state = 'blocked' AND NOT EXISTS (
    SELECT 1 FROM treadle_job AS part WHERE part.group_id = whole.id AND part.finished_at IS NULL);

-- name: get_bad_parts
-- The parts of a whole that ended without a result.
SELECT part, failure FROM treadle_job
WHERE group_id = %(id)s AND state IN ('failed', 'cancelled') ORDER BY part;

-- name: unblock
-- All parts of a whole have succeeded.
UPDATE treadle_job SET state = 'ready', run_at = %(now)s, version = version + 1
WHERE id = %(id)s AND state = 'blocked';

-- name: measure_items
-- How long an item of the parts of wholes took: the next `send_map` of these tasks is cut by that. The last rows that
-- a transaction locks, and in the order of their names.
INSERT INTO treadle_meta (name, value)
SELECT 'item_s:' || task, (sum(finished_at - started_at) / 1e6 / sum(size))::text
FROM treadle_job WHERE group_id = ANY(%(ids)s) AND started_at IS NOT NULL GROUP BY task ORDER BY task
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: fail_whole
-- Some parts of a whole did not succeed.
UPDATE treadle_job SET state = 'failed', finished_at = %(now)s, failure = %(failure)s, version = version + 1
WHERE id = %(id)s AND state = 'blocked';

-- name: lock_tellers
-- Those of these claims whose runs may tell of themselves: they hold until this transaction ends, or have made their job
-- succeed, faster than this was told. Not where it was forgotten since.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(claims)s::json) AS given (id text, token bigint)
)
SELECT job.id, job.token FROM treadle_job AS job JOIN given ON given.id = job.id AND given.token = job.token
WHERE job.worker_id IS NOT NULL OR (job.state = 'succeeded' AND job.payload <> '')
ORDER BY job.id FOR NO KEY UPDATE OF job;

-- name: insert_messages
-- Messages of jobs whose claims hold, with the next numbers of each job.
INSERT INTO treadle_message (job_id, number, sent_at, body)
SELECT given.id, given.number + (SELECT coalesce(max(number), 0) FROM treadle_message WHERE job_id = given.id),
       given.sent_at, given.body
FROM json_to_recordset(%(messages)s::json) AS given (id text, number integer, sent_at bigint, body text);

-- name: report_progress
-- The newest progress of jobs whose claims hold.
INSERT INTO treadle_progress AS progress (job_id, done, total, message, version)
SELECT id, done, total, message, 1 FROM json_to_recordset(%(reports)s::json) AS given (
    id text, done double precision, total double precision, message text)
ORDER BY id
ON CONFLICT (job_id) DO UPDATE SET done = excluded.done, total = excluded.total, message = excluded.message,
    version = progress.version + 1;

-- name: raise_versions
-- Something visible of jobs has changed beside their progress.
INSERT INTO treadle_progress AS progress (job_id, done, total, message, version)
SELECT id, 0, NULL, '', 1 FROM unnest(%(ids)s::text[]) AS given (id) ORDER BY id
ON CONFLICT (job_id) DO UPDATE SET version = progress.version + 1;

-- name: register_worker
-- Make a worker known.
INSERT INTO treadle_worker (id, host, pid, kind, queues, started_at, last_seen_at, lease_until)
VALUES (%(id)s, %(host)s, %(pid)s, %(kind)s, %(queues)s, %(started_at)s, %(last_seen_at)s, %(lease_until)s)
ON CONFLICT (id) DO UPDATE SET last_seen_at = excluded.last_seen_at, lease_until = excluded.lease_until;

-- name: heartbeat
-- A worker is alive.
UPDATE treadle_worker SET last_seen_at = %(now)s, lease_until = %(lease_until)s WHERE id = %(id)s RETURNING id;

-- name: deregister_workers
-- Workers have left; not while they hold a job, which only a rescue could take back.
DELETE FROM treadle_worker AS worker
WHERE worker.id = ANY(%(ids)s) AND NOT EXISTS (
    SELECT 1 FROM treadle_job AS job WHERE job.state = 'running' AND job.worker_id = worker.id);

-- name: get_workers
-- The known workers, oldest first.
SELECT id, host, pid, kind, started_at, last_seen_at, lease_until, queues FROM treadle_worker ORDER BY started_at, id;

-- name: lock_workers
-- Workers that are to be rescued: what they claim is committed before, or never claimed.
SELECT id FROM treadle_worker WHERE id = ANY(%(worker_ids)s) ORDER BY id FOR UPDATE;

-- name: lock_running_of
-- What workers hold, locked: whoever rescues the same workers at once finds nothing.
SELECT {job} FROM treadle_job AS job
WHERE job.state = 'running' AND job.worker_id = ANY(%(worker_ids)s) ORDER BY job.id FOR NO KEY UPDATE OF job;

-- name: is_promotion_due
-- Whether the time of any scheduled job has come: one trip where there is nothing.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE state = 'scheduled' AND run_at <= %(now)s);

-- name: promote
-- The time of these jobs has come.
WITH due AS MATERIALIZED (
    SELECT id FROM treadle_job WHERE state = 'scheduled' AND run_at <= %(now)s
    ORDER BY run_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
), promoted AS (
    UPDATE treadle_job AS job SET state = 'ready', version = version + 1 FROM due WHERE job.id = due.id RETURNING job.id
)
SELECT count(*) FROM promoted;

-- name: get_schedules
-- The known schedules.
SELECT name, cron, timezone, task, seen_at, last_job_id FROM treadle_schedule ORDER BY name;

-- name: keep_schedules
-- Make schedules known. One whose times have changed begins anew, but never before what it was seen to.
INSERT INTO treadle_schedule AS schedule (name, cron, timezone, task, seen_at)
SELECT name, cron, timezone, task, seen_at FROM json_to_recordset(%(schedules)s::json) AS given (
    name text, cron text, timezone text, task text, seen_at bigint)
ORDER BY name
ON CONFLICT (name) DO UPDATE
SET cron = excluded.cron, timezone = excluded.timezone, task = excluded.task,
    seen_at = CASE WHEN schedule.cron = excluded.cron AND schedule.timezone = excluded.timezone THEN schedule.seen_at
                   ELSE greatest(schedule.seen_at, excluded.seen_at) END;

-- name: move_schedule
-- Who moves a schedule on from where it was has the right to send its job.
UPDATE treadle_schedule SET seen_at = %(to)s, last_job_id = coalesce(%(job_id)s, last_job_id)
WHERE name = %(name)s AND seen_at = %(seen_at)s RETURNING name;

-- name: forget_schedules
-- Schedules that the code has no longer.
DELETE FROM treadle_schedule WHERE name = ANY(%(names)s);

-- name: is_any_expired
-- Whether there is a job that has not begun in time: one trip where there is nothing.
SELECT EXISTS (
    SELECT 1 FROM treadle_job
    WHERE expires_at <= %(now)s AND finished_at IS NULL AND state IN ('blocked', 'scheduled', 'ready'));

-- name: get_expired
-- The jobs that have not begun in time, and whether each is a whole.
SELECT id, kind = 'whole', expires_at FROM treadle_job
WHERE expires_at <= %(now)s AND finished_at IS NULL AND state IN ('blocked', 'scheduled', 'ready')
ORDER BY expires_at, id LIMIT %(limit)s;

-- name: expire
-- Fail jobs that have not begun in time, but those that somebody else is just changing: claiming, perhaps.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(jobs)s::json) AS given (id text, failure text)
), late AS MATERIALIZED (
    SELECT job.id FROM treadle_job AS job JOIN given ON given.id = job.id
    WHERE job.expires_at <= %(now)s AND job.state IN ('blocked', 'scheduled', 'ready')
    ORDER BY job.id FOR NO KEY UPDATE OF job SKIP LOCKED
)
UPDATE treadle_job AS job SET state = 'failed', finished_at = %(now)s, failure = given.failure, version = version + 1
FROM given JOIN late USING (id) WHERE job.id = late.id
RETURNING job.id, job.group_id;

-- name: is_any_result_old
-- Whether a result was kept long enough: one trip where there is nothing.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE {is_forgettable});

-- name: forget_results
-- Drop results that were kept long enough; tells of each job whether it is a whole.
WITH old AS MATERIALIZED (
    SELECT id FROM treadle_job WHERE {is_forgettable}
    ORDER BY finished_at + result_ttl LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE treadle_job AS job SET result = NULL, version = version + 1 FROM old WHERE job.id = old.id
RETURNING job.id, job.kind = 'whole';

-- name: forget_part_results
-- Drop the results of the parts of wholes.
UPDATE treadle_job SET result = NULL, version = version + 1 WHERE group_id = ANY(%(ids)s) AND result IS NOT NULL;

-- name: get_labelled
-- Of the next jobs in the order of their ids those with some labels, and the last whatever its labels are.
WITH page AS MATERIALIZED (
    SELECT id, labels @> %(labels)s::jsonb AS has_labels
    FROM treadle_job WHERE id > %(after_id)s ORDER BY id LIMIT %(limit)s
)
SELECT id, has_labels FROM page WHERE has_labels OR id = (SELECT max(id) FROM page) ORDER BY id;

-- name: lock_before_wholes
-- Nobody else changes those of these jobs that are no wholes until this transaction ends: parts are locked before their whole.
SELECT id FROM treadle_job WHERE id = ANY(%(ids)s) AND kind <> 'whole' ORDER BY id FOR NO KEY UPDATE;

-- name: get_to_forget
-- Those of these jobs that were not forgotten, and whether they have ended, also for the whole that they are a part of.
SELECT job.id, job.failure, job.finished_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM treadle_job AS whole WHERE whole.id = job.group_id AND whole.finished_at IS NULL)
FROM treadle_job AS job WHERE job.id = ANY(%(ids)s) AND job.payload <> '';

-- name: forget
-- Blank what jobs that have ended were given and what they said; they are locked.
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(jobs)s::json) AS given (id text, failure text)
), without_errors AS (
    UPDATE treadle_attempt AS attempt SET error_message = %(text)s, error_traceback = ''
    FROM given WHERE attempt.job_id = given.id AND attempt.error_class IS NOT NULL
), without_progress AS (
    UPDATE treadle_progress AS progress SET message = '', version = progress.version + 1
    FROM given WHERE progress.job_id = given.id AND progress.message <> ''
), without_messages AS (
    DELETE FROM treadle_message AS message USING given WHERE message.job_id = given.id
)
UPDATE treadle_job AS job
SET payload = '', result = NULL, failure = given.failure, unique_key = NULL, concurrency_key = NULL,
    version = version + 1
FROM given WHERE job.id = given.id;

-- name: pause
-- No more jobs of these queues are claimed.
INSERT INTO treadle_paused_queue (name, paused_at) SELECT name, %(now)s FROM unnest(%(names)s::text[]) AS given (name)
ORDER BY name ON CONFLICT (name) DO NOTHING RETURNING name;

-- name: resume
-- The jobs of these queues are claimed again.
DELETE FROM treadle_paused_queue WHERE name = ANY(%(names)s) RETURNING name;

-- name: get_paused_queues
-- The paused queues, and since when.
SELECT name, paused_at FROM treadle_paused_queue ORDER BY name;

-- name: get_old
-- Finished jobs that are old enough to be deleted.
SELECT id FROM treadle_job AS job WHERE {is_old} ORDER BY finished_at LIMIT %(limit)s;

-- name: lock_to_prune
-- Nobody sends these jobs once more, nor their wholes, until this transaction ends.
SELECT id FROM treadle_job WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: prune
-- Delete these jobs, where they are old still; what hangs on them goes with them.
DELETE FROM treadle_job AS job WHERE id = ANY(%(ids)s) AND {is_old} RETURNING id;
