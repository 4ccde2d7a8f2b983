"""A Flask application with a factory. Start: `flask --app shop run`; a worker process: `flask --app shop worker run`;
then `curl -d item=book http://127.0.0.1:5000/acme/orders`."""

from flask import Flask

from shop import orders, watch
from shop.extensions import worker


def create_app(**config) -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(config)
    worker.init_app(app)
    app.register_blueprint(orders.blueprint)
    watch.connect(app)
    return app
