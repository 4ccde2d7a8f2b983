from flask import Blueprint, g, request

from shop.extensions import worker
from shop.tenant import Tenant

blueprint = Blueprint("orders", __name__, url_prefix="/<tenant>")
worker.around(Tenant)


@blueprint.url_value_preprocessor
def note_tenant(endpoint, values):
    g.tenant = values.pop("tenant")


@worker.task
def confirm(item: str) -> str:
    if not item:
        raise ValueError("an order of nothing")
    return f"{g.tenant} sends you a {item}"


@blueprint.post("/orders")
def order():
    job = worker.send_function(confirm, request.form["item"])
    return worker.accepted(job)


@blueprint.post("/orders/now")
async def order_now():
    job = await worker.asend_function(confirm, request.form["item"])
    return {"answer": await job.aresult(timeout_s=20)}
