"""The price of an option by chance: `pool.map` computes now, on every core, inside the request. Start: `flask run`.

NumPy draws the paths. Each call has a seed of its own, so the same request gives the same price, whatever the cores.
"""

import time

import numpy as np
from flask import Flask, render_template, request

from flask_worker import FlaskWorker

PATHS_A_CALL = 100_000
MOST_CALLS = 200
START, STRIKE, RATE, VOLATILITY, YEARS, STEPS = 100.0, 105.0, 0.03, 0.2, 1.0, 50

app = Flask(__name__)
worker = FlaskWorker(app)


def payoffs(seed: np.random.SeedSequence) -> tuple[float, float]:
    """The sum of what the paths of one call pay, and that of the squares: an Asian option, on the mean of the way."""
    chance = np.random.default_rng(seed)
    price = np.full(PATHS_A_CALL, START)
    total = np.zeros(PATHS_A_CALL)
    step = YEARS / STEPS
    for _ in range(STEPS):
        drift = (RATE - VOLATILITY**2 / 2) * step
        price *= np.exp(drift + VOLATILITY * step**0.5 * chance.standard_normal(PATHS_A_CALL))
        total += price
    paid = np.maximum(total / STEPS - STRIKE, 0.0)
    return float(paid.sum()), float((paid**2).sum())


@app.get("/")
def page():
    calls = min(max(request.args.get("calls", 0, int), 0), MOST_CALLS)
    return render_template("page.html", calls=calls or 20, most=MOST_CALLS, found=estimate(calls) if calls else None)


def estimate(calls: int) -> dict[str, float]:
    """The price, and how far it may be off, from so many calls."""
    start = time.perf_counter()
    sums = np.array(list(worker.pool.map(payoffs, np.random.SeedSequence(7).spawn(calls))))
    paths = calls * PATHS_A_CALL
    mean, of_squares = sums.sum(axis=0) / paths
    discount = np.exp(-RATE * YEARS)
    return {
        "paths": paths,
        "price": float(discount * mean),
        "error": float(discount * ((of_squares - mean**2) / paths) ** 0.5),
        "took_s": time.perf_counter() - start,
    }
