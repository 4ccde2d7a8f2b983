from flask_worker.signals import job_ended


def connect(app):
    job_ended.connect(tell_of_failure, app)


def tell_of_failure(app, job, outcome, **extra):
    if job.state == "failed":
        app.logger.error("%s has failed: %s", job.task, job.error)
