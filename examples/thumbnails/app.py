"""Thumbnails of uploaded pictures, made on every core while the page shows them one by one. Start: `flask run`.

Each upload is an album: a folder in the instance folder, with a name that nobody can guess.
"""

import secrets
from pathlib import Path

from flask import Flask, abort, redirect, render_template, request, send_from_directory, url_for
from PIL import Image, ImageOps

from flask_worker import FlaskWorker

SIZE = (320, 320)
MOST_PICTURES = 200

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 256 * 1024 * 1024
worker = FlaskWorker(app)


@worker.task
def make_thumbnail(path: str) -> str:
    """Scale one picture; returns the name of the thumbnail. A file that is no picture fails the job."""
    target = Path(path).with_suffix(".jpg")
    with Image.open(path) as picture:
        picture.draft("RGB", SIZE)  # A JPEG is decoded at a smaller size, which is many times quicker.
        small = ImageOps.exif_transpose(picture).convert("RGB")
    small.thumbnail(SIZE)
    # Written under another name first: the page must not show half a picture.
    small.save(target.with_suffix(".part"), "JPEG", quality=80)
    target.with_suffix(".part").rename(target)
    return target.name


@app.get("/")
def form():
    return render_template("form.html")


@app.post("/")
def upload():
    pictures = [picture for picture in request.files.getlist("pictures") if picture.filename][:MOST_PICTURES]
    if not pictures:
        abort(400, "choose at least one picture")
    album = secrets.token_urlsafe(12)
    folder = albums() / album
    folder.mkdir(parents=True)
    paths = [folder / f"{number:03}.upload" for number in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    job = worker.send_map(make_thumbnail, list(map(str, paths)))
    (folder / "job").write_text(job.id)
    return redirect(url_for("show", album=album))


@app.get("/albums/<album>")
def show(album):
    job = worker.job((folder_of(album) / "job").read_text())
    return render_template("album.html", album=album, job=job)


@app.get("/albums/<album>/thumbnails")
def thumbnails(album):
    """The addresses of those that are there by now."""
    numbers = sorted(int(path.stem) for path in folder_of(album).glob("*.jpg"))
    return [url_for("thumbnail", album=album, number=number) for number in numbers]


@app.get("/albums/<album>/<int:number>.jpg")
def thumbnail(album, number):
    return send_from_directory(folder_of(album), f"{number:03}.jpg")


def albums() -> Path:
    return Path(app.instance_path) / "albums"


def folder_of(album: str) -> Path:
    """The folder of an album; 404 where there is none."""
    folder = albums() / album
    if folder.parent != albums() or not (folder / "job").exists():
        abort(404)
    return folder
