"""Jobs that are sent once, and jobs that run one at a time, on the core without a framework. Run: `python keyed_jobs.py`."""

from threading import Thread

from treadle import JobHandle, Treadle

app = Treadle("sqlite:///keyed_jobs.sqlite3")


@app.task
def rebuild_index(shop: int) -> str:
    return f"the index of shop {shop} is new"


def on_change(shop: int) -> JobHandle[str]:
    # However many products change: one job for each shop waits or runs.
    return app.send_function(rebuild_index.options(unique_key=f"shop:{shop}"), shop)


@app.task
def charge(customer: int, cents: int) -> str:
    return f"customer {customer} paid {cents}"


def on_order(customer: int, cents: int) -> JobHandle[str]:
    # Every order is charged, but never two of one customer at the same time.
    return app.send_function(charge.options(concurrency_key=f"customer:{customer}"), customer, cents)


if __name__ == "__main__":
    jobs = [on_change(shop) for shop in (1, 1, 2, 1)]
    print(len({job.id for job in jobs}), "jobs for", len(jobs), "changes")
    orders = [on_order(7, cents) for cents in (100, 200)]
    worker = app.worker()
    thread = Thread(target=worker.run)
    thread.start()
    print(jobs[3].result(timeout_s=30), *(order.result(timeout_s=30) for order in orders), sep="\n")
    worker.stop()
    thread.join()
