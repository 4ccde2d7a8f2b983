-- Every statement of the SQLite store. `-- name:` begins a statement, with a line of purpose;
-- `-- fragment:` begins text that statements share as {its name}.

-- fragment: insertion
-- A new job.
INSERT INTO treadle_job ({job})
VALUES (:id, :kind, :task, :queue, :pool, :priority, :state, :run_at, 0, :max_attempts, 0, :max_crashes, 0,
        NULL, :enqueued_at, NULL, NULL, :group_id, :part, :size, :alias, :labels, :headers, :payload, NULL,
        NULL, :timeout_s, :memory_mb, :cores, NULL, :unique_key, :concurrency_key, :expires_at, :result_ttl, NULL, 1)

-- fragment: job
-- The columns of a Job, in the order in which treadle.store.rows reads them.
id, kind, task, queue, pool, priority, state, run_at, attempt, max_attempts, crashes, max_crashes, token,
worker_id, enqueued_at, started_at, finished_at, group_id, part, size, alias, labels, headers, payload, result,
failure, timeout_s, memory_mb, cores, cancel_requested_at, unique_key, concurrency_key, expires_at, result_ttl,
redriven_at, version

-- fragment: is_taken
-- Whether a job with the key of this `job` runs.
EXISTS (SELECT 1 FROM treadle_job AS other WHERE other.concurrency_key = job.concurrency_key AND other.state = 'running')

-- fragment: ready_queue
-- The queues with ready jobs that have no concurrency key, found one from another in the index.
ready_queue (name) AS (
    SELECT min(queue) FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NULL
    UNION ALL
    SELECT (SELECT min(queue) FROM treadle_job
            WHERE state = 'ready' AND concurrency_key IS NULL AND queue > ready_queue.name)
    FROM ready_queue WHERE name IS NOT NULL
)

-- fragment: least_crashes
-- The smallest max_crashes of a job and of those before it in the order of a claim: from the first 0 on no job may wait in
-- a pool, or it would pass by one that may not.
min(max_crashes) OVER (ORDER BY priority DESC, run_at, id) AS least_crashes

-- fragment: is_known
-- Whether who claims is a known worker: nobody would rescue what another holds.
EXISTS (SELECT 1 FROM treadle_worker WHERE id = :worker_id)

-- fragment: is_queue_open
-- Whether a queue is not paused. As a condition of a LIMIT it is asked once; SQLite would ask it of each row that waits.
NOT EXISTS (SELECT 1 FROM treadle_paused_queue WHERE name = :queue)

-- fragment: may_tell
-- Whether a run may tell of itself: its claim holds, or it has made its job succeed, faster than this was told. Not where
-- the job was forgotten since.
(state = 'running' OR (state = 'succeeded' AND payload <> ''))

-- fragment: is_in_time
-- Whether a job may begin now: the duty that fails the others may be late.
(expires_at IS NULL OR expires_at > :now)

-- fragment: is_forgettable
-- Whether the result of a job was kept long enough. That of a part goes with its whole's.
finished_at + result_ttl <= :now AND result_ttl IS NOT NULL AND result IS NOT NULL AND group_id IS NULL

-- fragment: as_new
-- What a redrive sets beside the state: one attempt more where none is left, and the rest as of a new job.
run_at = :now, max_attempts = max(max_attempts, attempt + 1), crashes = 0, started_at = NULL, finished_at = NULL,
cancel_requested_at = NULL, expires_at = NULL, failure = NULL, redriven_at = :now, version = version + 1

-- name: has_tables
-- Whether there are tables of ours.
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'treadle_meta');

-- name: note_migration
-- How far the tables were migrated.
INSERT INTO treadle_meta (name, value) VALUES ('schema_version', :number), ('min_code_version', '1')
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.name = 'schema_version';

-- name: get_meta
-- One fact about the store itself.
SELECT value FROM treadle_meta WHERE name = :name;

-- name: set_meta
-- Keep a fact, unless it is already there.
INSERT INTO treadle_meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING;

-- name: insert_job
-- A new job.
{insertion};

-- name: insert_unique_job
-- A new job, unless an unfinished one of its task has its key: the condition is that of the index, word for word.
{insertion}
ON CONFLICT (task, unique_key) WHERE unique_key IS NOT NULL AND finished_at IS NULL DO NOTHING;

-- name: get_unique
-- The unfinished job of a task with a key, with its progress.
SELECT {job}, done, total, message, progress_version
FROM treadle_job LEFT JOIN (
    SELECT job_id, done, total, message, version AS progress_version FROM treadle_progress
) ON job_id = id
WHERE task = :task AND unique_key = :unique_key AND unique_key IS NOT NULL AND finished_at IS NULL;

-- name: insert_progress
-- The progress of a whole, counted by the store as its parts end.
INSERT INTO treadle_progress (job_id, done, total, message, version) VALUES (:id, 0, :total, '', 0);

-- name: cancel
-- Cancel a job that has not started.
UPDATE treadle_job SET state = 'cancelled', finished_at = :now, version = version + 1
WHERE id = :id AND state IN ('blocked', 'scheduled', 'ready')
RETURNING group_id;

-- name: cancel_parts
-- Cancel the parts of a cancelled whole that have not started.
UPDATE treadle_job SET state = 'cancelled', finished_at = :now, version = version + 1
WHERE group_id = :id AND state IN ('scheduled', 'ready');

-- name: request_cancel
-- Ask the worker of a job that runs to end it.
UPDATE treadle_job
SET cancel_requested_at = coalesce(cancel_requested_at, :now), version = version + (cancel_requested_at IS NULL)
WHERE id = :id AND state = 'running';

-- name: request_cancel_of_parts
-- Ask the workers of a cancelled whole's parts that run to end them.
UPDATE treadle_job SET cancel_requested_at = :now, version = version + 1
WHERE group_id = :id AND state = 'running' AND cancel_requested_at IS NULL;

-- name: redrive
-- Send a job once more, unless it was forgotten or its unique key is taken; a whole only where none of its parts runs, was
-- forgotten or has left no result.
UPDATE treadle_job
SET state = CASE WHEN kind = 'whole' AND EXISTS (
        SELECT 1 FROM treadle_job AS part WHERE part.group_id = :id AND part.state IN ('failed', 'cancelled')
    ) THEN 'blocked' ELSE 'ready' END, {as_new}
WHERE id = :id AND state IN ('failed', 'cancelled') AND group_id IS NULL AND payload <> ''
  AND (kind <> 'whole' OR size = (
      SELECT coalesce(sum(part.size), 0) FROM treadle_job AS part
      WHERE part.group_id = :id AND part.payload <> ''
        AND (part.state IN ('failed', 'cancelled') OR part.result IS NOT NULL)))
  AND NOT EXISTS (
      SELECT 1 FROM treadle_job AS other
      WHERE other.task = treadle_job.task AND other.unique_key = treadle_job.unique_key
        AND other.unique_key IS NOT NULL AND other.finished_at IS NULL);

-- name: redrive_parts
-- Send those parts of a whole once more that did not succeed.
UPDATE treadle_job SET state = 'ready', {as_new} WHERE group_id = :id AND state IN ('failed', 'cancelled');

-- name: restart_progress
-- The progress of what was sent once more: of a whole, what its parts that have succeeded count; of others none.
UPDATE treadle_progress
SET done = (SELECT coalesce(sum(part.size), 0) FROM treadle_job AS part
            WHERE part.group_id = job_id AND part.state = 'succeeded'),
    total = (SELECT CASE kind WHEN 'whole' THEN size END FROM treadle_job WHERE id = job_id),
    message = '', version = version + 1
WHERE job_id = :id OR job_id IN (SELECT id FROM treadle_job WHERE group_id = :id AND finished_at IS NULL);

-- name: get_cancel_requests
-- What a worker runs and somebody has asked to cancel.
SELECT id, token FROM treadle_job
WHERE state = 'running' AND cancel_requested_at IS NOT NULL AND worker_id = :worker_id;

-- name: get_to_be_cancelled
-- Those of these jobs that somebody has asked to cancel.
SELECT id FROM treadle_job
WHERE cancel_requested_at IS NOT NULL AND id IN (SELECT value FROM json_each(:ids));

-- name: get_jobs
-- Jobs by id, with their progress.
SELECT {job}, done, total, message, progress_version
FROM treadle_job LEFT JOIN (
    SELECT job_id, done, total, message, version AS progress_version FROM treadle_progress
) ON job_id = id
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: find_newest
-- Jobs that fit, the newest first: ids sort by time.
SELECT {job}, done, total, message, progress_version
FROM treadle_job LEFT JOIN (
    SELECT job_id, done, total, message, version AS progress_version FROM treadle_progress
) ON job_id = id
WHERE (:state IS NULL OR state = :state) AND (:task IS NULL OR task = :task)
  AND (:queue IS NULL OR queue = :queue)
  AND NOT EXISTS (
      SELECT 1 FROM json_each(:labels) AS wanted
      WHERE NOT EXISTS (
          SELECT 1 FROM json_each(treadle_job.labels) AS own
          WHERE own.key = wanted.key AND own.value = wanted.value))
ORDER BY enqueued_at DESC, id DESC LIMIT :limit;

-- name: find_oldest
-- Jobs that fit, in the order in which they were sent.
SELECT {job}, done, total, message, progress_version
FROM treadle_job LEFT JOIN (
    SELECT job_id, done, total, message, version AS progress_version FROM treadle_progress
) ON job_id = id
WHERE (:state IS NULL OR state = :state) AND (:task IS NULL OR task = :task)
  AND (:queue IS NULL OR queue = :queue)
  AND NOT EXISTS (
      SELECT 1 FROM json_each(:labels) AS wanted
      WHERE NOT EXISTS (
          SELECT 1 FROM json_each(treadle_job.labels) AS own
          WHERE own.key = wanted.key AND own.value = wanted.value))
ORDER BY enqueued_at, id LIMIT :limit;

-- name: get_attempts
-- The ended runs of jobs, oldest first.
SELECT job_id, number, worker_id, started_at, ended_at, outcome, error_class, error_message, error_traceback
FROM treadle_attempt WHERE job_id IN (SELECT value FROM json_each(:ids)) ORDER BY job_id, token;

-- name: get_messages
-- What a job sent after a number.
SELECT number, sent_at, body FROM treadle_message WHERE job_id = :id AND number > :after ORDER BY number;

-- name: get_part_results
-- The results of the parts of wholes, in the order of the parts.
SELECT group_id, result FROM treadle_job
WHERE group_id IN (SELECT value FROM json_each(:ids)) AND result IS NOT NULL ORDER BY group_id, part;

-- name: get_parts
-- How the parts of a whole stand, in their order.
SELECT state, size, started_at, finished_at FROM treadle_job WHERE group_id = :id ORDER BY part;

-- name: count_jobs
-- How many jobs each queue has in each state.
SELECT queue, state, count(*) FROM treadle_job GROUP BY queue, state;

-- name: is_work_ready
-- Whether jobs without and with a concurrency key are ready, were no queue paused, and whether any is: a look without the
-- writer's lock.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NULL AND pool = :pool),
       EXISTS (SELECT 1 FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NOT NULL AND pool = :pool),
       EXISTS (SELECT 1 FROM treadle_paused_queue);

-- name: get_shares
-- Of the most urgent jobs without a concurrency key that a claim may take, how many each queue holds; 0 for one whose jobs
-- are less urgent. It jumps from queue to queue in the index, so that the jobs of a paused one are not read.
WITH RECURSIVE {ready_queue}
SELECT queue, sum(place <= :limit) FROM (
    SELECT job.queue, row_number() OVER (ORDER BY job.priority DESC, job.run_at, job.id) AS place
    FROM ready_queue CROSS JOIN treadle_job AS job ON job.rowid IN (
        SELECT rowid FROM treadle_job
        WHERE state = 'ready' AND concurrency_key IS NULL AND queue = ready_queue.name AND pool = :pool AND {is_in_time}
        ORDER BY priority DESC, run_at, id LIMIT :limit)
    WHERE NOT EXISTS (SELECT 1 FROM treadle_paused_queue AS paused WHERE paused.name = ready_queue.name)
) GROUP BY queue;

-- name: get_open_queues
-- The queues with ready jobs, with or without a concurrency key, that are not paused.
WITH RECURSIVE {ready_queue}, keyed_queue (name) AS (
    SELECT min(queue) FROM treadle_job WHERE state = 'ready' AND concurrency_key IS NOT NULL
    UNION ALL
    SELECT (SELECT min(queue) FROM treadle_job
            WHERE state = 'ready' AND concurrency_key IS NOT NULL AND queue > keyed_queue.name)
    FROM keyed_queue WHERE name IS NOT NULL
)
SELECT name FROM (SELECT name FROM ready_queue UNION SELECT name FROM keyed_queue)
WHERE name IS NOT NULL AND name NOT IN (SELECT name FROM treadle_paused_queue);

-- name: claim
-- Take ready jobs of any queue that have no concurrency key, where no queue is paused. What does not start at once ends
-- before the first that may run at most once.
UPDATE treadle_job
SET state = 'running', token = token + 1, attempt = attempt + 1, worker_id = :worker_id, version = version + 1,
    started_at = CASE WHEN :starts THEN :now END
WHERE rowid IN (
    SELECT number FROM (
        SELECT rowid AS number, {least_crashes} FROM treadle_job
        WHERE state = 'ready' AND concurrency_key IS NULL AND pool = :pool AND {is_in_time}
        ORDER BY priority DESC, run_at, id
        LIMIT iif({is_known} AND NOT EXISTS (SELECT 1 FROM treadle_paused_queue), :limit, 0))
    WHERE :starts OR least_crashes > 0)
RETURNING {job};

-- name: claim_in_queue
-- The same of one queue, unless it is paused.
UPDATE treadle_job
SET state = 'running', token = token + 1, attempt = attempt + 1, worker_id = :worker_id, version = version + 1,
    started_at = CASE WHEN :starts THEN :now END
WHERE rowid IN (
    SELECT number FROM (
        SELECT rowid AS number, {least_crashes} FROM treadle_job
        WHERE state = 'ready' AND concurrency_key IS NULL AND queue = :queue AND pool = :pool AND {is_in_time}
        ORDER BY priority DESC, run_at, id LIMIT iif({is_known} AND {is_queue_open}, :limit, 0))
    WHERE :starts OR least_crashes > 0)
RETURNING {job};

-- name: claim_chosen
-- Take these ready jobs.
UPDATE treadle_job
SET state = 'running', token = token + 1, attempt = attempt + 1, worker_id = :worker_id, version = version + 1,
    started_at = CASE WHEN :starts THEN :now END
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = 'ready' AND {is_in_time} AND {is_known}
  AND queue NOT IN (SELECT name FROM treadle_paused_queue)
RETURNING {job};

-- name: get_urgent_without_key
-- The most urgent ready jobs that have no concurrency key, and whether they may wait in a pool.
SELECT id, priority, run_at, max_crashes > 0 FROM treadle_job
WHERE state = 'ready' AND concurrency_key IS NULL AND pool = :pool AND {is_in_time}
ORDER BY priority DESC, run_at, id LIMIT :limit;

-- name: get_urgent_without_key_in_queue
-- The same of one queue, unless it is paused.
SELECT id, priority, run_at, max_crashes > 0 FROM treadle_job
WHERE state = 'ready' AND concurrency_key IS NULL AND queue = :queue AND pool = :pool AND {is_in_time}
ORDER BY priority DESC, run_at, id LIMIT iif({is_queue_open}, :limit, 0);

-- name: get_urgent_with_key
-- The most urgent ready jobs that have a concurrency key, and whether it is taken.
SELECT id, priority, run_at, false, concurrency_key, {is_taken} FROM treadle_job AS job
WHERE state = 'ready' AND concurrency_key IS NOT NULL AND pool = :pool AND {is_in_time}
ORDER BY priority DESC, run_at, id LIMIT :near;

-- name: get_urgent_with_key_in_queue
-- The same of one queue, unless it is paused.
SELECT id, priority, run_at, false, concurrency_key, {is_taken} FROM treadle_job AS job
WHERE state = 'ready' AND concurrency_key IS NOT NULL AND queue = :queue AND pool = :pool AND {is_in_time}
ORDER BY priority DESC, run_at, id LIMIT iif({is_queue_open}, :near, 0);

-- name: get_first_of_keys
-- The most urgent ready job of each of the next concurrency keys after one, in their order, and whether it is taken.
-- Each key is found from the one before, so that nothing is read of the many jobs that may wait behind it.
WITH RECURSIVE waiting (key, place) AS (
    SELECT min(concurrency_key), 1 FROM treadle_job
    WHERE state = 'ready' AND concurrency_key > :after_key AND pool = :pool
    UNION ALL
    SELECT (SELECT min(concurrency_key) FROM treadle_job
            WHERE state = 'ready' AND concurrency_key > waiting.key AND pool = :pool), place + 1
    FROM waiting WHERE key IS NOT NULL AND place < :far
)
SELECT job.id, job.priority, job.run_at, false, job.concurrency_key, {is_taken}
FROM waiting JOIN treadle_job AS job ON job.rowid = (
    SELECT rowid FROM treadle_job
    WHERE state = 'ready' AND concurrency_key = waiting.key AND pool = :pool AND {is_in_time}
    ORDER BY priority DESC, run_at, id LIMIT 1)
ORDER BY place;

-- name: get_first_of_keys_in_queue
-- The same of one queue, unless it is paused.
WITH RECURSIVE waiting (key, place) AS (
    SELECT min(concurrency_key), 1 FROM treadle_job
    WHERE state = 'ready' AND concurrency_key > :after_key AND queue = :queue AND pool = :pool
    UNION ALL
    SELECT (SELECT min(concurrency_key) FROM treadle_job
            WHERE state = 'ready' AND concurrency_key > waiting.key AND queue = :queue AND pool = :pool), place + 1
    FROM waiting WHERE key IS NOT NULL AND place < :far
)
SELECT job.id, job.priority, job.run_at, false, job.concurrency_key, {is_taken}
FROM waiting JOIN treadle_job AS job ON job.rowid = (
    SELECT rowid FROM treadle_job
    WHERE state = 'ready' AND concurrency_key = waiting.key AND queue = :queue AND pool = :pool AND {is_in_time}
    ORDER BY priority DESC, run_at, id LIMIT 1)
WHERE {is_queue_open}
ORDER BY place;

-- name: mark_started
-- A prefetched job was started.
UPDATE treadle_job SET started_at = :started_at, version = version + 1
WHERE id = :id AND token = :token AND state = 'running';

-- name: release
-- Give back a job that was claimed and never started, unless it was to be cancelled meanwhile.
UPDATE treadle_job
SET state = 'ready', attempt = attempt - 1, worker_id = NULL, started_at = NULL, version = version + 1
WHERE id = :id AND token = :token AND state = 'running' AND cancel_requested_at IS NULL;

-- name: cancel_instead
-- Cancel a job that was claimed, never started, and was to be cancelled meanwhile.
UPDATE treadle_job
SET state = 'cancelled', attempt = attempt - 1, worker_id = NULL, started_at = NULL, finished_at = :now,
    version = version + 1
WHERE id = :id AND token = :token AND state = 'running'
RETURNING group_id;

-- name: finish
-- Apply the end of a run, if its claim still holds.
UPDATE treadle_job
SET state = :state, run_at = :run_at, attempt = :attempt, crashes = :crashes, worker_id = NULL,
    started_at = :started_at, finished_at = :finished_at, result = :result, failure = :failure,
    version = version + 1
WHERE id = :id AND token = :token AND state = 'running';

-- name: insert_attempt
-- What a run ended in.
INSERT INTO treadle_attempt (job_id, token, number, worker_id, started_at, ended_at, outcome,
                             error_class, error_message, error_traceback)
VALUES (:id, :token, :number, :worker_id, :started_at, :ended_at, :outcome,
        :error_class, :error_message, :error_traceback);

-- name: advance_whole
-- A part has succeeded: its items count as done.
UPDATE treadle_progress SET done = done + :size, version = version + 1 WHERE job_id = :id;

-- name: has_open_parts
-- Whether a part of a whole has not ended yet.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE group_id = :id AND finished_at IS NULL);

-- name: get_bad_parts
-- The parts of a whole that ended without a result.
SELECT part, state, failure FROM treadle_job
WHERE group_id = :id AND state IN ('failed', 'cancelled') ORDER BY part;

-- name: unblock
-- All parts of a whole have succeeded.
UPDATE treadle_job SET state = 'ready', run_at = :now, version = version + 1 WHERE id = :id AND state = 'blocked';

-- name: measure_items
-- How long an item of a whole's parts took: the next `send_map` of this task is cut by that.
INSERT INTO treadle_meta (name, value)
SELECT 'item_s:' || task, CAST(sum(finished_at - started_at) / 1000000.0 / sum(size) AS TEXT)
FROM treadle_job WHERE group_id = :id AND started_at IS NOT NULL GROUP BY task
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: fail_whole
-- Some parts of a whole did not succeed.
UPDATE treadle_job SET state = 'failed', finished_at = :now, failure = :failure, version = version + 1
WHERE id = :id AND state = 'blocked';

-- name: report_progress
-- The newest progress of a run.
INSERT INTO treadle_progress (job_id, done, total, message, version)
SELECT id, :done, :total, :message, 1 FROM treadle_job WHERE id = :id AND token = :token AND {may_tell}
ON CONFLICT (job_id) DO UPDATE
SET done = excluded.done, total = excluded.total, message = excluded.message, version = version + 1;

-- name: insert_message
-- A message of a run, with the next number of its job.
INSERT INTO treadle_message (job_id, number, sent_at, body)
SELECT id, (SELECT coalesce(max(number), 0) + 1 FROM treadle_message WHERE job_id = :id), :sent_at, :body
FROM treadle_job WHERE id = :id AND token = :token AND {may_tell};

-- name: raise_version
-- Something visible of a job has changed beside its progress.
INSERT INTO treadle_progress (job_id, done, total, message, version)
SELECT id, 0, NULL, '', 1 FROM treadle_job WHERE id = :id AND token = :token AND {may_tell}
ON CONFLICT (job_id) DO UPDATE SET version = version + 1;

-- name: register_worker
-- Make a worker known.
INSERT INTO treadle_worker (id, host, pid, kind, queues, started_at, last_seen_at, lease_until)
VALUES (:id, :host, :pid, :kind, :queues, :started_at, :last_seen_at, :lease_until)
ON CONFLICT (id) DO UPDATE SET last_seen_at = excluded.last_seen_at, lease_until = excluded.lease_until;

-- name: heartbeat
-- A worker is alive.
UPDATE treadle_worker SET last_seen_at = :now, lease_until = :lease_until WHERE id = :id;

-- name: deregister_worker
-- A worker has left; not while it holds a job, which only a rescue could take back.
DELETE FROM treadle_worker
WHERE id = :id AND NOT EXISTS (SELECT 1 FROM treadle_job WHERE state = 'running' AND worker_id = :id);

-- name: get_workers
-- The known workers, oldest first.
SELECT id, host, pid, kind, started_at, last_seen_at, lease_until, queues FROM treadle_worker ORDER BY started_at, id;

-- name: get_running_of
-- What a worker holds.
SELECT {job} FROM treadle_job WHERE state = 'running' AND worker_id = :worker_id;

-- name: is_promotion_due
-- Whether the time of any scheduled job has come: a look without the writer's lock.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE state = 'scheduled' AND run_at <= :now);

-- name: promote
-- The time of these jobs has come.
UPDATE treadle_job SET state = 'ready', version = version + 1 WHERE rowid IN (
    SELECT rowid FROM treadle_job WHERE state = 'scheduled' AND run_at <= :now ORDER BY run_at LIMIT :limit);

-- name: get_schedules
-- The known schedules.
SELECT name, cron, timezone, task, seen_at, last_job_id FROM treadle_schedule ORDER BY name;

-- name: keep_schedule
-- Make a schedule known. One whose times have changed begins anew, but never before what it was seen to.
INSERT INTO treadle_schedule (name, cron, timezone, task, seen_at, last_job_id)
VALUES (:name, :cron, :timezone, :task, :seen_at, NULL)
ON CONFLICT (name) DO UPDATE
SET cron = excluded.cron, timezone = excluded.timezone, task = excluded.task,
    seen_at = CASE WHEN cron = excluded.cron AND timezone = excluded.timezone THEN seen_at
                   ELSE max(seen_at, excluded.seen_at) END;

-- name: move_schedule
-- Who moves a schedule on from where it was has the right to send its job.
UPDATE treadle_schedule SET seen_at = :to, last_job_id = coalesce(:job_id, last_job_id)
WHERE name = :name AND seen_at = :seen_at;

-- name: forget_schedule
-- A schedule that the code has no longer.
DELETE FROM treadle_schedule WHERE name = :name;

-- name: is_any_expired
-- Whether there is a job that has not begun in time: a look without the writer's lock.
SELECT EXISTS (
    SELECT 1 FROM treadle_job
    WHERE expires_at <= :now AND finished_at IS NULL AND state IN ('blocked', 'scheduled', 'ready'));

-- name: get_expired
-- The jobs that have not begun in time.
SELECT id, kind, group_id, expires_at FROM treadle_job
WHERE expires_at <= :now AND finished_at IS NULL AND state IN ('blocked', 'scheduled', 'ready')
ORDER BY expires_at, id LIMIT :limit;

-- name: expire
-- Fail a job that has not begun in time.
UPDATE treadle_job SET state = 'failed', finished_at = :now, failure = :failure, version = version + 1
WHERE id = :id AND state IN ('blocked', 'scheduled', 'ready');

-- name: is_any_result_old
-- Whether a result was kept long enough: a look without the writer's lock.
SELECT EXISTS (SELECT 1 FROM treadle_job WHERE {is_forgettable});

-- name: forget_results
-- Drop results that were kept long enough.
UPDATE treadle_job SET result = NULL, version = version + 1 WHERE rowid IN (
    SELECT rowid FROM treadle_job WHERE {is_forgettable} ORDER BY finished_at + result_ttl LIMIT :limit)
RETURNING id, kind;

-- name: forget_part_results
-- Drop the results of the parts of a whole.
UPDATE treadle_job SET result = NULL, version = version + 1 WHERE group_id = :id AND result IS NOT NULL;

-- name: get_labelled
-- Of the next jobs in the order of their ids those with some labels, and the last whatever its labels are.
WITH page AS MATERIALIZED (
    SELECT id, NOT EXISTS (
        SELECT 1 FROM json_each(:labels) AS wanted
        WHERE NOT EXISTS (
            SELECT 1 FROM json_each(job.labels) AS own
            WHERE own.key = wanted.key AND own.value = wanted.value)) AS has_labels
    FROM treadle_job AS job WHERE id > :after_id ORDER BY id LIMIT :limit
)
SELECT id, has_labels FROM page WHERE has_labels OR id = (SELECT max(id) FROM page) ORDER BY id;

-- name: get_to_forget
-- Those of these jobs that were not forgotten, and whether they have ended, also for the whole that they are a part of.
SELECT id, failure, finished_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM treadle_job AS whole WHERE whole.id = job.group_id AND whole.finished_at IS NULL)
FROM treadle_job AS job WHERE id IN (SELECT value FROM json_each(:ids)) AND payload <> '';

-- name: forget
-- Blank what a job that has ended was given and what it said.
UPDATE treadle_job
SET payload = '', result = NULL, failure = :failure, unique_key = NULL, concurrency_key = NULL, version = version + 1
WHERE id = :id;

-- name: forget_errors
-- Blank the errors of attempts.
UPDATE treadle_attempt SET error_message = :text, error_traceback = ''
WHERE job_id IN (SELECT value FROM json_each(:ids)) AND error_class IS NOT NULL;

-- name: forget_progress
-- Blank the text of progress.
UPDATE treadle_progress SET message = '', version = version + 1
WHERE job_id IN (SELECT value FROM json_each(:ids)) AND message <> '';

-- name: forget_messages
-- Delete what jobs have sent.
DELETE FROM treadle_message WHERE job_id IN (SELECT value FROM json_each(:ids));

-- name: pause
-- No more jobs of this queue are claimed.
INSERT INTO treadle_paused_queue (name, paused_at) VALUES (:name, :now) ON CONFLICT (name) DO NOTHING;

-- name: resume
-- The jobs of this queue are claimed again.
DELETE FROM treadle_paused_queue WHERE name = :name;

-- name: get_paused_queues
-- The paused queues, and since when.
SELECT name, paused_at FROM treadle_paused_queue ORDER BY name;

-- name: prune
-- Delete finished jobs; what hangs on them goes with them. A part stays until its whole has ended.
DELETE FROM treadle_job WHERE rowid IN (
    SELECT rowid FROM treadle_job
    WHERE finished_at IS NOT NULL
      AND finished_at < CASE state WHEN 'succeeded' THEN :succeeded_before ELSE :failed_before END
      AND finished_at < max(:succeeded_before, :failed_before)
      AND NOT EXISTS (
          SELECT 1 FROM treadle_job AS whole
          WHERE whole.id = treadle_job.group_id AND whole.finished_at IS NULL)
    ORDER BY finished_at LIMIT :limit);
