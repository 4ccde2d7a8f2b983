from flask_worker import FlaskWorker

worker = FlaskWorker()
