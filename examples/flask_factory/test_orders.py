from shop.extensions import worker
from shop.orders import confirm


def test_an_order_is_confirmed_later(client, worker_collect):
    client.post("/acme/orders", data={"item": "book"})
    assert [call.args for call in worker_collect.sent(confirm)] == [("book",)]
    [job] = worker_collect.run_pending()
    assert job.result() == "acme sends you a book"


def test_an_order_is_confirmed_now(client, worker_immediate):
    answer = client.post("/acme/orders/now", data={"item": "book"})
    assert answer.json == {"answer": "acme sends you a book"}


def test_the_visitor_follows_the_order(client, worker_store):
    sent = client.post("/acme/orders", data={"item": "book"}).json
    worker_store.run_pending()
    assert client.get(sent["urls"]["result"]).json == "acme sends you a book"


def test_an_order_of_nothing_is_told_of(app, client, caplog):
    with worker.testing(app, mode="immediate"):
        client.post("/acme/orders", data={"item": ""})
    assert "shop.orders.confirm has failed: ValueError: an order of nothing" in caplog.text
