"""Treadle in Quart, or any other async framework: the core, with its own verbs. Start: `uvicorn app:app`, then
`curl -d hello http://127.0.0.1:8000/length`; a worker process beside it: `treadle worker run app:treadle`."""

from quart import Quart, request

from treadle import Treadle

app = Quart(__name__)
treadle = Treadle("sqlite:///jobs.sqlite3")


@treadle.task
def string_length(text: str) -> int:
    return len(text)


@app.before_serving
async def start_worker():
    treadle.start_embedded()  # until a worker process is there


@app.after_serving
async def stop_worker():
    treadle.close()


@app.post("/length")
async def length():
    job = await treadle.asend_function(string_length, await request.get_data(as_text=True))
    return {"length": await job.aresult(timeout_s=20)}
